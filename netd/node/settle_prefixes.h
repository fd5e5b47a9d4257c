// The networks' prefixes on this host: netkitd is a guest, and takes no addresses that the host has a use for.
//
// A network whose prefix holds an address of the host's, a route of it, or a link's prefix that it is a part of, would
// cut the host off from there: the daemon refuses to start with it, by name, and a reload likewise. Where the
// configuration leaves the default network's prefix open, it is the first of a list that nothing on the host overlaps,
// a wider route (a company's 10.0.0.0/8) included. A network that has containers keeps its prefix whatever comes later;
// find_overlaps() says so.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "link/host_prefixes.h"
#include "store/store.h"

namespace netkitd {

// `endpoints`: those that there are.
[[nodiscard]] Result<Config> settle_prefixes(Config config, const std::vector<link::HostPrefix>& host,
                                             const std::vector<EndpointRecord>& endpoints);

struct Overlap {
    std::string network;
    IpPrefix prefix;  // of the network
    link::HostPrefix host;
};
// What would be refused now; for status.
[[nodiscard]] std::vector<Overlap> find_overlaps(const Config& config, const std::vector<link::HostPrefix>& host);

// Gateways of the networks that a link of the host's holds: there they are a machine's, the host's own router perhaps.
[[nodiscard]] std::vector<IpAddr> gateways_on_links(const Config& config, const std::vector<link::HostPrefix>& host);

// What of the networks' prefixes is the host's: for the datapath, and for those who give out addresses. The host's
// addresses come first, then the others, the shortest first, without those that lie in one of them.
[[nodiscard]] std::vector<IpPrefix> within_networks(const Config& config, const std::vector<link::HostPrefix>& host);
// The same of what one routing table has, where that is less than a whole network.
[[nodiscard]] std::vector<IpPrefix> parts_of_table(const Config& config, const std::vector<link::HostPrefix>& host,
                                                   std::uint32_t table);
[[nodiscard]] std::vector<IpPrefix> first_of_each_family(const std::vector<IpPrefix>& prefixes, std::size_t count);

// Addresses that a list of the host's leaves out: they are netkitd's own.
[[nodiscard]] std::vector<IpAddr> gateways(const Config& config, const std::vector<NetworkRecord>& made);

}  // namespace netkitd
