// Whether what was recorded of containers fits a configuration: looked at before anything on the host is changed for
// it.
#pragma once

#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "link/device.h"
#include "store/store.h"

namespace netkitd {

// The prefix of its network that holds this address of the endpoint's; an error that names the container, where there
// is none.
[[nodiscard]] Result<IpPrefix> find_prefix(const Config& config, const EndpointRecord& record, const IpAddr& address);

// Whether the pair of that endpoint is among the devices.
[[nodiscard]] bool has_pair(const std::vector<link::Device>& devices, const EndpointRecord& record);

// Of those whose pair is there.
[[nodiscard]] Result<void> check_networks(const Config& config, const std::vector<EndpointRecord>& records,
                                          const std::vector<link::Device>& devices);

}  // namespace netkitd
