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

#include "base/ip_addr.h"
#include "base/result.h"
#include "endpoint/config.h"
#include "endpoint/plumbing.h"
#include "endpoint/store.h"

namespace netkitd {

struct AttachPlan {
    EndpointRecord record;  // complete but for what creating the pair yields
    IpAddr gateway4;
    std::uint32_t network_index = 0;
    PortRange local_ports;
    // An endpoint whose address this one takes over (the same container, started again with a static address).
    std::optional<EndpointRecord> predecessor;
    IpAddr predecessor_gateway4;
};

struct AttachOutcome {
    EndpointRecord record;
    std::vector<std::string> notes;           // what this kernel could not do
    std::chrono::microseconds kernel_wait{};  // attaching waits for an RCU grace period
};

[[nodiscard]] Result<AttachOutcome> run_attach(Plumbing& plumbing, Store& store, ContainerNetns& netns,
                                               const AttachPlan& plan);

// The datapath's and the host's view of a record; also used to put them back at start.
[[nodiscard]] datapath::EndpointEntry datapath_entry(const EndpointRecord& record, std::uint32_t network_index);
[[nodiscard]] link::HostEnd host_end(const EndpointRecord& record, const IpAddr& gateway4);

}  // namespace netkitd
