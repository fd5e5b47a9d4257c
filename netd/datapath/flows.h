// The masquerade flow table from the daemon's side: list it, and forget what is over.
//
// A flow is two entries (bpf/abi.h). Each half records what went its way, so whether a flow is over follows from both:
// the sweep walks all entries in batches, and only for one whose own half has been idle long enough does it look at
// the other half. Work is done where something may end, and only there.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "abi.h"
#include "base/ip_addr.h"
#include "base/result.h"
#include "datapath/datapath.h"

namespace netkitd::datapath {

struct FlowLifetimes {
    std::chrono::seconds fresh{60};              // no reply yet
    std::chrono::seconds tcp_established{7440};  // RFC 5382, REQ-5: at least 2 h 4 min
    std::chrono::seconds tcp_half_closed{240};   // RFC 5382, REQ-5: at least 4 min
    std::chrono::seconds tcp_closed{10};         // both FINs or a RST (SCTP: ABORT): only late packets are waited for
    std::chrono::seconds udp{300};               // RFC 4787, REQ-5; UDP-Lite too
    std::chrono::seconds icmp{60};               // RFC 5508, REQ-1
    // RFC 9260, 8.3: a heartbeat each 30 seconds or so on an association that is idle; many of them may be lost.
    std::chrono::seconds sctp{600};
};

enum class FlowState { fresh, established, half_closed, closed };
[[nodiscard]] std::string_view to_string(FlowState state);

struct Flow {
    std::uint8_t protocol = 0;  // IPPROTO_*
    IpAddr source;              // the container
    std::uint16_t source_port = 0;
    IpAddr destination;
    std::uint16_t destination_port = 0;
    IpAddr translated;  // the address that the outside sees
    std::uint16_t translated_port = 0;
    FlowState state{};
    std::chrono::nanoseconds age{};
    std::chrono::nanoseconds idle{};  // of the direction that was used last
    std::uint32_t endpoint_id = 0;
};

// What the two halves say together. `established` is whether they are in the established map.
[[nodiscard]] FlowState flow_state(bool established, std::uint8_t protocol, std::uint32_t forward_flags,
                                   std::uint32_t reverse_flags);
[[nodiscard]] std::chrono::seconds lifetime(const FlowLifetimes& lifetimes, FlowState state, std::uint8_t protocol);

class FlowTable {
public:
    explicit FlowTable(const Datapath& datapath)
        : maps4_(datapath.flow_maps(IpFamily::v4)), maps6_(datapath.flow_maps(IpFamily::v6)) {}

    // At most `limit` flows, IPv4 first; `truncated` says whether there are more.
    struct Listing {
        std::vector<Flow> flows;
        bool truncated = false;
    };
    [[nodiscard]] Result<Listing> list(std::size_t limit) const;

    struct SweepResult {
        std::uint32_t established_entries = 0;  // that are left
        std::uint32_t fresh_entries = 0;
        std::uint32_t removed = 0;
    };
    struct Sweep {
        SweepResult v4;
        SweepResult v6;
    };
    // Forgets flows that are over and halves that have lost their other half.
    [[nodiscard]] Result<Sweep> sweep(const FlowLifetimes& lifetimes);
    // Forgets every flow of an endpoint that is gone.
    [[nodiscard]] Result<void> remove_endpoint(std::uint32_t endpoint_id);
    // Forgets every flow whose translated address is gone; how many entries those were.
    using IsGone = std::function<bool(const IpAddr&)>;
    [[nodiscard]] Result<std::uint32_t> remove_translated(const IsGone& is_gone);

private:
    Datapath::FlowMaps maps4_;
    Datapath::FlowMaps maps6_;
};

}  // namespace netkitd::datapath
