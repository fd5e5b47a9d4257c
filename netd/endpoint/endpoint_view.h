// The datapath's and the host's view of an endpoint's record; for an attach, and to put them back.
#pragma once

#include <optional>
#include <vector>

#include "base/ip_addr.h"
#include "config/network_config.h"
#include "datapath/datapath.h"
#include "endpoint/endpoint_settings.h"
#include "store/store.h"

namespace netkitd {

// What an endpoint needs to know of its network.
struct NetworkPlace {
    IpAddr gateway4;
    std::optional<IpAddr> gateway6;
};
[[nodiscard]] NetworkPlace place_in(const NetworkConfig& network);
[[nodiscard]] NetworkPlace place_of(const EndpointRecord& record, const Config& config);

[[nodiscard]] std::vector<datapath::EndpointEntry> datapath_entries(const EndpointRecord& record);

// Of each family that the container has.
[[nodiscard]] std::vector<datapath::Frontend> frontends_of(const EndpointRecord& record);

// A route of its own that the host needs to a container whose MTU is smaller than netkitd0's.
struct NarrowRoute {
    IpAddr container;
    std::uint32_t mtu = 0;
    std::optional<IpAddr> gateway;
};
[[nodiscard]] std::vector<NarrowRoute> narrow_routes(const EndpointRecord& record, const NetworkPlace& network,
                                                     std::uint32_t host_mtu);
// Of an endpoint that was made some time ago.
[[nodiscard]] std::vector<NarrowRoute> narrow_routes_of(const EndpointRecord& record, const EndpointSettings& settings);

}  // namespace netkitd
