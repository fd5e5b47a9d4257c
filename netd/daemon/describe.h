// The JSON that users and programs see: replies of the daemon, printed as they are by `netkitctl --json`. Keys are
// stable.
#pragma once

#include <chrono>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "datapath/datapath.h"
#include "endpoint/attach_request.h"
#include "endpoint/endpoint_table.h"
#include "nat/flows.h"
#include "node/container_names.h"

namespace netkitd {

[[nodiscard]] nlohmann::json describe_addresses(const std::vector<IpAddr>& list);
[[nodiscard]] nlohmann::json describe_prefixes(const std::vector<IpPrefix>& list);
[[nodiscard]] nlohmann::json describe_endpoint(const Endpoint& endpoint);
// With what `endpoint show` adds.
[[nodiscard]] nlohmann::json describe_endpoint_fully(const Endpoint& endpoint,
                                                     const std::vector<datapath::EndpointDrop>& drops);
[[nodiscard]] nlohmann::json describe_attach(const AttachReply& reply, const ContainerNames& names);
// `connections`: of those that others than this host and its containers have begun.
[[nodiscard]] nlohmann::json describe_port(const PublishedPort& port, const EndpointRecord& record,
                                           std::uint64_t connections);
// Ports that wait for a container.
[[nodiscard]] nlohmann::json describe_held(const datapath::Frontends& frontends);
[[nodiscard]] nlohmann::json describe_flow(const nat::Flow& flow, const std::string& container);
// RFC 3339, UTC.
[[nodiscard]] std::string describe_time(std::chrono::system_clock::time_point time);

}  // namespace netkitd
