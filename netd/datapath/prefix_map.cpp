#include "datapath/prefix_map.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "abi.h"
#include "datapath/address.h"

namespace netkitd::datapath {
namespace {

// The key of IPv4 is the beginning of IPv6's: the kernel reads no more of it.
static_assert(sizeof(nk_prefix4_key) == sizeof(__u32) + sizeof(in_addr) && sizeof(nk_prefix6_key) == 20);

nk_prefix6_key to_key(const IpPrefix& prefix) {
    return {.length = prefix.length(), .addr = to_nk_addr(prefix.address())};
}

IpPrefix from_key(const nk_prefix6_key& key, IpFamily family) {
    return {to_ip_addr(key.addr, family), static_cast<std::uint8_t>(key.length)};
}

Result<std::vector<IpPrefix>> list_prefixes(int map, IpFamily family) {
    std::vector<IpPrefix> prefixes;
    nk_prefix6_key key{};
    for (int error = bpf_map_get_next_key(map, nullptr, &key); error == 0;
         error = bpf_map_get_next_key(map, &key, &key)) {
        prefixes.push_back(from_key(key, family));
    }
    return errno == ENOENT ? Result<std::vector<IpPrefix>>(std::move(prefixes))
                           : fail_errno(errno, "list the prefixes of a map");
}

}  // namespace

Result<void> add_prefixes(int map, IpFamily family, std::span<const IpPrefix> wanted) {
    const auto present = NK_TRY(list_prefixes(map, family));
    for (const IpPrefix& prefix : wanted) {
        if (prefix.address().family() != family || std::ranges::contains(present, prefix)) {
            continue;
        }
        const nk_prefix6_key key = to_key(prefix);
        const std::uint8_t value = prefix.length();
        if (bpf_map_update_elem(map, &key, &value, BPF_ANY) != 0) {
            return fail_errno(errno, "add {} to a map of prefixes", prefix.to_string());
        }
    }
    return {};
}

Result<void> remove_other_prefixes(int map, IpFamily family, std::span<const IpPrefix> wanted) {
    for (const IpPrefix& prefix : NK_TRY(list_prefixes(map, family))) {
        const nk_prefix6_key key = to_key(prefix);
        if (!std::ranges::contains(wanted, prefix) && bpf_map_delete_elem(map, &key) != 0 && errno != ENOENT) {
            return fail_errno(errno, "take {} from a map of prefixes", prefix.to_string());
        }
    }
    return {};
}

}  // namespace netkitd::datapath
