// The network namespaces of containers, by cookie, for what sockets run (bpf/lib/nat/published_socket.h).
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "base/ip_addr.h"
#include "base/result.h"

namespace netkitd::datapath {

class Namespaces {
public:
    // `map`: borrowed, for the life of this.
    explicit Namespaces(int map) : map_(map) {}

    // Of the container that has this address, in place of the one that had it.
    [[nodiscard]] Result<void> put(const IpAddr& address, std::uint64_t cookie);
    // A namespace is there for as long as an address of its container is. One that is not known is no error.
    [[nodiscard]] Result<void> remove(const IpAddr& address);

private:
    struct Addresses {
        std::optional<IpAddr> v4;
        std::optional<IpAddr> v6;
        [[nodiscard]] std::optional<IpAddr>& of(IpFamily family) { return family == IpFamily::v4 ? v4 : v6; }
    };
    [[nodiscard]] Result<void> set(std::uint64_t cookie, IpFamily family, const std::optional<IpAddr>& address);

    int map_;
    std::map<IpAddr, std::uint64_t> cookies_;
    std::map<std::uint64_t, Addresses> addresses_;  // by cookie
};

}  // namespace netkitd::datapath
