#include "datapath/namespaces.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <utility>

#include "abi.h"
#include "base/format.h"
#include "datapath/address.h"

namespace netkitd::datapath {

// Without any address, it is gone.
Result<void> Namespaces::set(std::uint64_t cookie, IpFamily family, const std::optional<IpAddr>& address) {
    Addresses& addresses = addresses_[cookie];
    addresses.of(family) = address;
    const auto wire = [](const std::optional<IpAddr>& known) { return known ? to_nk_addr(*known) : nk_addr{}; };
    const nk_namespace value{.addr4 = wire(addresses.v4), .addr6 = wire(addresses.v6)};
    const bool is_there = addresses.v4 || addresses.v6;
    if (!is_there) {
        addresses_.erase(cookie);
    }
    const int error =
        is_there ? bpf_map_update_elem(map_, &cookie, &value, BPF_ANY) : bpf_map_delete_elem(map_, &cookie);
    if (error != 0 && (is_there || errno != ENOENT)) {
        return fail_errno(errno, "note the network namespace of a container");
    }
    return {};
}

Result<void> Namespaces::put(const IpAddr& address, std::uint64_t cookie) {
    const auto [known, is_new] = cookies_.try_emplace(address, cookie);
    const std::uint64_t former = std::exchange(known->second, cookie);
    Result<void> put = set(cookie, address.family(), address);
    if (!is_new && former != cookie) {
        keep_first(put, set(former, address.family(), std::nullopt));
    }
    return put;
}

Result<void> Namespaces::remove(const IpAddr& address) {
    const auto known = cookies_.find(address);
    if (known == cookies_.end()) {
        return {};
    }
    const std::uint64_t cookie = known->second;
    cookies_.erase(known);
    return set(cookie, address.family(), std::nullopt);
}

}  // namespace netkitd::datapath
