// A port of the host's by which a container is reached from outside, as its owner writes it:
//
//   8080:80/tcp, 127.0.0.1:5353:53/udp, [2001:db8::7]:443:8443, 9000-9003:9000-9003,
//   8080:80;allow=198.51.100.0/24+2001:db8::/32;hold=10
//
// The host's address (none: all that it has, its loopback ones too), the host's port or ports, the container's, the
// protocol (none: tcp), who may come (none: everybody), how many seconds clients wait where nobody listens (none: they
// are refused).
#pragma once

#include <netinet/in.h>

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_addr.h"
#include "base/result.h"

namespace netkitd {

// One of the ranges' ports.
struct PublishedPort {
    std::optional<IpAddr> address;  // a loopback one: for the host itself alone
    std::uint16_t port = 0;
    std::uint16_t container_port = 0;
    std::uint8_t protocol = IPPROTO_TCP;  // IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP
    std::vector<IpPrefix> allowed = {};   // sorted; none: everybody may come
    std::chrono::seconds hold{};          // how long clients wait for somebody who listens; TCP's alone

    // "8080:80/tcp"
    [[nodiscard]] std::string to_string() const;
    // "8080:80/tcp;allow=198.51.100.0/24;hold=10"
    [[nodiscard]] std::string to_full_string() const;
    // Whether somebody outside could mean either: one port at one address, or at all.
    [[nodiscard]] bool clashes_with(const PublishedPort& other) const;
    auto operator<=>(const PublishedPort&) const = default;
};

// Whether a port can be published at an address of it.
[[nodiscard]] bool may_have_ports(const IpPrefix& prefix);

// Of one container.
inline constexpr std::size_t kMaxPublishedPorts = 1024;
inline constexpr std::size_t kMaxAllowedSources = 64;  // prefixes, of all its ports together

inline constexpr std::size_t kMaxListedSources = 4096;  // prefixes, each as often as a port has it
inline constexpr std::chrono::seconds kMaxHold{300};  // longer than a client tries (tcp_syn_retries: some two minutes)

// Sorted. What is refused: more than kMaxPublishedPorts, kMaxAllowedSources or kMaxListedSources, two that clash, an
// address that can't be a port's (of IPv4: 0.0.0.0; multicast, link-local), SCTP with two ports (which a CRC over the
// packet's ports forbids).
[[nodiscard]] Result<std::vector<PublishedPort>> parse_published_ports(std::string_view text);
// The inverse, one by one.
[[nodiscard]] std::string to_string(const std::vector<PublishedPort>& ports);

}  // namespace netkitd
