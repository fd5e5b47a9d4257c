// The daemon's replies, for people. Each function takes the `result` of the operation of that name.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace netkitd::ctl {

[[nodiscard]] std::string print_status(const nlohmann::json& status);
[[nodiscard]] std::string print_endpoints(const nlohmann::json& list);
[[nodiscard]] std::string print_endpoint(const nlohmann::json& endpoint);
[[nodiscard]] std::string print_attached(const std::string& id, const nlohmann::json& reply);
[[nodiscard]] std::string print_detached(const std::string& id, const nlohmann::json& reply);
[[nodiscard]] std::string print_ports(const nlohmann::json& list);
[[nodiscard]] std::string print_flows(const nlohmann::json& list);
[[nodiscard]] std::string print_flushed(const nlohmann::json& reply);

}  // namespace netkitd::ctl
