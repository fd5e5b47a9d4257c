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
                           .host_mac = record.host_mac});
    }
    return entries;
}

link::HostEnd host_end(const EndpointRecord& record, const NetworkPlace& network) {
    return {.ifindex = record.host_ifindex,
            .ipv4 = record.ipv4,
            .gateway4 = network.gateway4,
            .ipv6 = record.ipv6,
            .gateway6 = network.gateway6,
            .peer_mac = link::has_link_addresses(record.device_mode) ? std::optional(record.peer_mac) : std::nullopt};
}

link::HostEnd host_end_of(const EndpointRecord& record, const EndpointSettings& settings) {
    link::HostEnd end = host_end(record, place_of(record, settings.config));
    if (!settings.no_ipv6.empty()) {
        end.ipv6 = end.gateway6 = std::nullopt;  // it was turned off since; its IPv4 shall go on
    }
    return end;
}

}  // namespace netkitd
