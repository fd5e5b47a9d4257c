// The attach transaction: from a container's netns to an endpoint that packets can use, or nothing at all.
//
// Order is safety. The container's end is configured while nothing can leave: a netkit peer is born with policy
// blackhole, a veth's host end is still down. Then the program is attached and pinned, then the datapath learns the
// address, and only then the host's end goes up. The record is committed last; any failure before undoes every step in
// reverse.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "config/port_range.h"
#include "endpoint/endpoint_view.h"
#include "endpoint/plumbing.h"
#include "link/segment_sizes.h"
#include "store/store.h"

namespace netkitd {

struct AttachPlan {
    EndpointRecord record;  // complete but for what creating the pair yields
    NetworkPlace network;
    PortRange local_ports;
    link::SegmentSizes sizes;
    std::uint32_t host_mtu = 0;  // of netkitd0
    // The same container's former endpoint. What both have of addresses (static ones) moves to this one.
    std::optional<EndpointRecord> predecessor;
    std::vector<std::string> notes;  // what the container does without
};

struct AttachOutcome {
    EndpointRecord record;
    std::vector<std::string> notes;           // what this kernel could not do
    std::chrono::microseconds kernel_wait{};  // attaching waits for an RCU grace period
};

[[nodiscard]] Result<AttachOutcome> run_attach(Plumbing& plumbing, Store& store, ContainerNetns& netns,
                                               const AttachPlan& plan, const Config& config);

}  // namespace netkitd
