// /etc/netkitd/netkitd.json: what the node's administrator decides. JSON with comments; strict: an unknown key, a wrong
// type or a value that contradicts another is an error that names file, key and reason. What the format has but this
// version does not do yet is refused by name, never ignored.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_addr.h"
#include "base/result.h"
#include "config/flow_lifetimes.h"
#include "config/network_config.h"
#include "config/port_range.h"
#include "link/device.h"

namespace netkitd {

struct Config {
    // In the order of the file. Never empty: a `default` that the file
    // does not have is added at the end.
    std::vector<NetworkConfig> networks;
    std::vector<std::string> uplinks;             // empty: automatic
    std::optional<link::DeviceMode> device_mode;  // empty: auto
    bool masquerade = true;                       // of networks that don't say it themselves
    std::vector<IpPrefix> non_masquerade;         // destinations that are routed also from masqueraded networks
    PortRange masquerade_ports;
    bool any_masquerade_ports = true;  // nobody asked for these: fewer of them will do
    FlowLifetimes lifetimes;
    std::vector<IpPrefix> publish_addresses;  // where a port is that is published without an address; empty: everywhere
    bool big_tcp = true;
    std::string store = "/var/lib/netkitd/state.db";

    [[nodiscard]] const NetworkConfig* find_network(std::string_view name) const;
    // Every network's, in the order of the networks. That is the order in which the datapath knows them, family by
    // family.
    [[nodiscard]] std::vector<IpPrefix> prefixes() const;
    bool operator==(const Config&) const = default;
};

// The configuration of an empty file.
[[nodiscard]] Config default_config();
// `path` is for the messages.
[[nodiscard]] Result<Config> parse_config(std::string_view text, const std::string& path);
// A file that does not exist is an error; the caller decides what a missing default file means.
[[nodiscard]] Result<Config> load_config(const std::string& path);

}  // namespace netkitd
