// netkitd0 on this node: that it is there, with its program, and forwards. (Gateways and routes: network_routes.h.)
#pragma once

#include <cstdint>

#include "base/result.h"
#include "config/config.h"
#include "datapath/datapath.h"
#include "link/host_device.h"
#include "link/segment_sizes.h"
#include "netlink/socket.h"

namespace netkitd {

class HostDevice {
public:
    // Borrows both for its life.
    HostDevice(link::Netlink& host, datapath::Datapath& datapath) : host_(host), datapath_(datapath) {}

    // The device itself, up, and its program on it.
    [[nodiscard]] Result<void> sync(const Config& config, std::uint32_t mtu, const link::SegmentSizes& sizes);
    // The host's stack forwards what comes in by it: it answers for containers only then (TTL used up, too big, no
    // route), and the datapath's look-ups are answered only then. IPv6 too if `ipv6`.
    [[nodiscard]] static Result<void> turn_on_forwarding(bool ipv6);

    // As of the last sync().
    [[nodiscard]] const link::HostDevice& device() const { return device_; }

private:
    link::Netlink& host_;
    datapath::Datapath& datapath_;
    link::HostDevice device_;
};

}  // namespace netkitd
