// How long a masqueraded flow is remembered while it is idle.
#pragma once

#include <chrono>

namespace netkitd {

struct FlowLifetimes {
    std::chrono::seconds fresh{60};              // no reply yet
    std::chrono::seconds tcp_established{7440};  // RFC 5382, REQ-5: at least 2 h 4 min
    std::chrono::seconds tcp_half_closed{240};   // RFC 5382, REQ-5: at least 4 min
    std::chrono::seconds tcp_closed{10};         // both FINs or a RST (SCTP: ABORT): only late packets are waited for
    std::chrono::seconds udp{300};               // RFC 4787, REQ-5; UDP-Lite too
    std::chrono::seconds icmp{60};               // RFC 5508, REQ-1
    // RFC 9260, 8.3: a heartbeat each 30 seconds or so on an association that is idle; many of them may be lost.
    std::chrono::seconds sctp{600};
    bool operator==(const FlowLifetimes&) const = default;
};

}  // namespace netkitd
