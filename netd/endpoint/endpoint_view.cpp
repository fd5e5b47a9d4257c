#include "endpoint/endpoint_view.h"

namespace netkitd {

NetworkPlace place_in(const NetworkConfig& network) {
    return {.gateway4 = network.gateway4(), .gateway6 = network.gateway6()};
}

NetworkPlace place_of(const EndpointRecord& record, const Config& config) {
    const NetworkConfig* network = config.find_network(record.network);
    return network == nullptr ? NetworkPlace() : place_in(*network);
}

std::vector<datapath::EndpointEntry> datapath_entries(const EndpointRecord& record) {
    std::vector<datapath::EndpointEntry> entries;
    for (const IpAddr& address : record.addresses()) {
        entries.push_back({.address = address,
                           .id = record.id,
                           .home = record.home,
                           .host_ifindex = record.host_ifindex,
                           .device_mode = record.device_mode,
                           .peer_mac = record.peer_mac,
                           .host_mac = record.host_mac,
                           .publishes = !record.published.empty(),
                           .netns_cookie = record.netns_cookie});
    }
    return entries;
}

std::vector<datapath::Frontend> frontends_of(const EndpointRecord& record) {
    std::vector<datapath::Frontend> frontends;
    for (const PublishedPort& port : record.published) {
        for (const IpAddr& container : record.addresses()) {
            if (!port.address || port.address->family() == container.family()) {
                frontends.push_back({.address = port.address,
                                     .port = port.port,
                                     .protocol = port.protocol,
                                     .container = container,
                                     .container_port = port.container_port,
                                     .endpoint_id = record.id,
                                     .allowed = port.allowed,
                                     .hold = port.hold,
                                     .host_ifindex = record.host_ifindex});
            }
        }
    }
    return frontends;
}

std::vector<NarrowRoute> narrow_routes(const EndpointRecord& record, const NetworkPlace& network,
                                       std::uint32_t host_mtu) {
    std::vector<NarrowRoute> routes;
    if (record.mtu < host_mtu) {
        for (const IpAddr& address : record.addresses()) {
            routes.push_back({.container = address,
                              .mtu = record.mtu,
                              .gateway = address.is_v4() ? network.gateway4 : network.gateway6});
        }
    }
    return routes;
}

std::vector<NarrowRoute> narrow_routes_of(const EndpointRecord& record, const EndpointSettings& settings) {
    auto routes = narrow_routes(record, place_of(record, settings.config), settings.host_mtu);
    if (!settings.no_ipv6.empty()) {
        // It was turned off since; its IPv4 shall go on.
        std::erase_if(routes, [](const NarrowRoute& route) { return !route.container.is_v4(); });
    }
    return routes;
}

}  // namespace netkitd
