// The masquerade flow table from the daemon's side: what is in it, and forgetting what somebody wants forgotten. What
// is over by itself is the sweeper's (flow_sweeper.h).
//
// A flow is two entries (bpf/abi.h). Each half records what went its way, so its state follows from both.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "abi.h"
#include "base/ip_addr.h"
#include "base/monotonic.h"
#include "base/result.h"
#include "config/flow_lifetimes.h"
#include "datapath/datapath.h"

namespace netkitd::nat {

enum class FlowState { fresh, established, half_closed, closed };
[[nodiscard]] std::string_view to_string(FlowState state);

struct Flow {
    std::uint8_t protocol = 0;  // IPPROTO_*
    IpAddr source;              // the container, or the host
    std::uint16_t source_port = 0;
    IpAddr destination;
    std::uint16_t destination_port = 0;
    IpAddr translated;  // the address that the outside sees
    std::uint16_t translated_port = 0;
    FlowState state{};
    std::chrono::nanoseconds age{};
    std::chrono::nanoseconds idle{};  // of the direction that was used last
    bool inbound = false;             // the other end began it, at a published port: it is `destination` all the same
    bool inside = false;              // the same, and that is a container of this host
    std::uint32_t endpoint_id = 0;    // is_of_host(): of the host, or of another NAT on it
};

// Whether a flow with that owner is no container's.
[[nodiscard]] constexpr bool is_of_host(std::uint32_t endpoint_id) {
    return endpoint_id == NK_HOST_ID || endpoint_id >= NK_HOST_ASKED_ID;
}

// What the two halves say together.
[[nodiscard]] FlowState flow_state(std::uint8_t protocol, std::uint32_t forward_flags, std::uint32_t reverse_flags);
[[nodiscard]] std::chrono::seconds lifetime(const FlowLifetimes& lifetimes, FlowState state, std::uint8_t protocol);

// Flows that have all of what is given; every flow if nothing is.
struct FlowFilter {
    std::optional<std::uint32_t> endpoint_id = std::nullopt;
    std::function<bool(std::uint32_t)> owner = {};  // whether the endpoint of that id is meant
    std::optional<std::uint8_t> protocol = std::nullopt;
    std::optional<bool> inbound = std::nullopt;
    std::optional<IpPrefix> destination = std::nullopt;
    std::optional<std::uint16_t> destination_port = std::nullopt;
    std::function<bool(const IpAddr&)> translated = {};       // whether the address that the outside sees is meant
    std::function<bool(std::uint16_t)> translated_port = {};  // and its port, or echo id
};

class FlowTable {
public:
    // Borrows the datapath for its life.
    explicit FlowTable(const datapath::Datapath& datapath) : datapath_(&datapath) {}

    // At most `limit` flows of those that `filter` is about, IPv4 first; `truncated` says whether there are more.
    struct Listing {
        std::vector<Flow> flows;
        bool truncated = false;
    };
    [[nodiscard]] Result<Listing> list(std::size_t limit, const FlowFilter& filter = {}) const;
    // Forgets the flows that `filter` is about; how many there were.
    [[nodiscard]] Result<std::uint64_t> flush(const FlowFilter& filter);

private:
    const datapath::Datapath* datapath_;
};

}  // namespace netkitd::nat
