#include "datapath/namespaces.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <ranges>

#include "base/format.h"

namespace netkitd::datapath {

Result<void> Namespaces::put(const IpAddr& address, std::uint64_t cookie) {
    const std::uint32_t value = 1;
    if (bpf_map_update_elem(map_, &cookie, &value, BPF_ANY) != 0) {
        return fail_errno(errno, "note the network namespace of {}", address.to_string());
    }
    const auto former = cookies_.find(address);
    if (former != cookies_.end() && former->second != cookie) {
        NK_TRY(remove(address));
    }
    cookies_.insert_or_assign(address, cookie);
    return {};
}

Result<void> Namespaces::remove(const IpAddr& address) {
    const auto known = cookies_.find(address);
    if (known == cookies_.end()) {
        return {};
    }
    const std::uint64_t cookie = known->second;
    cookies_.erase(known);
    if (std::ranges::contains(cookies_ | std::views::values, cookie)) {
        return {};
    }
    if (bpf_map_delete_elem(map_, &cookie) != 0 && errno != ENOENT) {
        return fail_errno(errno, "forget the network namespace of {}", address.to_string());
    }
    return {};
}

}  // namespace netkitd::datapath
