// The datapath's and the host's view of an endpoint's record; for an attach, and to put them back.
#pragma once

#include <optional>
#include <vector>

#include "base/ip_addr.h"
#include "config/network_config.h"
#include "datapath/datapath.h"
#include "endpoint/endpoint_settings.h"
#include "link/configure.h"
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
[[nodiscard]] link::HostEnd host_end(const EndpointRecord& record, const NetworkPlace& network);
// Of an endpoint that was made some time ago.
[[nodiscard]] link::HostEnd host_end_of(const EndpointRecord& record, const EndpointSettings& settings);

}  // namespace netkitd
