// Which ports programs of this host serve, and who they are, for messages (sock_diag(7), proc(5)).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ip_addr.h"
#include "base/result.h"

namespace netkitd::link {

struct HostSocket {
    IpAddr address;  // 0.0.0.0 or ::, which takes IPv4 as well if it is not v6only: any
    std::uint16_t port = 0;
    std::uint32_t inode = 0;
    // Whether it would receive what comes to that address.
    [[nodiscard]] bool takes(const IpAddr& own) const;
    [[nodiscard]] bool is_wildcard() const;
};

// TCP's and UDP's that are bound, listen or are connected; without those that no program has any more, of which the
// kernel says the last to the other end. Of other protocols nothing is known. In the calling thread's netns.
[[nodiscard]] Result<std::vector<HostSocket>> host_sockets(std::uint8_t protocol);
// "dnsmasq, pid 812"; "somebody" where that can't be found out. Reads all of /proc: for a message.
[[nodiscard]] std::string holder_of(std::uint32_t inode);

}  // namespace netkitd::link
