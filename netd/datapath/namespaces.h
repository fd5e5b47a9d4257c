// The network namespaces of containers, by cookie, for what sockets run (bpf/lib/nat/published_socket.h).
#pragma once

#include <cstdint>
#include <map>

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
    [[nodiscard]] Result<void> write(std::uint64_t cookie) const;

    int map_;
    std::map<IpAddr, std::uint64_t> cookies_;
};

}  // namespace netkitd::datapath
