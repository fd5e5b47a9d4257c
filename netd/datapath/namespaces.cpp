#include "datapath/namespaces.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <utility>

#include "abi.h"
#include "base/format.h"
#include "datapath/address.h"

namespace netkitd::datapath {

// With the addresses that its container has; without any, it is gone.
Result<void> Namespaces::write(std::uint64_t cookie) const {
    nk_namespace value{};
    bool found = false;
    for (const auto& [address, of] : cookies_) {
        if (of == cookie) {
            (address.is_v4() ? value.addr4 : value.addr6) = to_nk_addr(address);
            found = true;
        }
    }
    const int error = found ? bpf_map_update_elem(map_, &cookie, &value, BPF_ANY) : bpf_map_delete_elem(map_, &cookie);
    if (error != 0 && errno != ENOENT) {
        return fail_errno(errno, "note the network namespace of a container");
    }
    return {};
}

Result<void> Namespaces::put(const IpAddr& address, std::uint64_t cookie) {
    const auto [known, is_new] = cookies_.try_emplace(address, cookie);
    const std::uint64_t former = std::exchange(known->second, cookie);
    Result<void> written = write(cookie);
    if (!is_new && former != cookie) {
        keep_first(written, write(former));
    }
    return written;
}

Result<void> Namespaces::remove(const IpAddr& address) {
    const auto known = cookies_.find(address);
    if (known == cookies_.end()) {
        return {};
    }
    const std::uint64_t cookie = known->second;
    cookies_.erase(known);
    return write(cookie);
}

}  // namespace netkitd::datapath
