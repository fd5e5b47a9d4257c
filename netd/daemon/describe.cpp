#include "daemon/describe.h"

#include <nlohmann/json.hpp>

#include "base/ip_protocol.h"

namespace netkitd {
namespace {

using nlohmann::json;

// Of addresses, or of prefixes.
template <typename Item>
json texts_of(const std::vector<Item>& list) {
    json texts = json::array();
    for (const Item& item : list) {
        texts.push_back(item.to_string());
    }
    return texts;
}

json optional_address(const std::optional<IpAddr>& address) {
    return address ? json(address->to_string()) : json(nullptr);
}

std::int64_t milliseconds(std::chrono::nanoseconds duration) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

json describe_ports(const std::vector<PublishedPort>& ports) {
    json result = json::array();
    for (const PublishedPort& port : ports) {
        result.push_back(port.to_full_string());
    }
    return result;
}

}  // namespace

std::string describe_time(std::chrono::system_clock::time_point time) {
    return formatted("{:%FT%TZ}", std::chrono::floor<std::chrono::seconds>(time));
}

json describe_addresses(const std::vector<IpAddr>& list) {
    return texts_of(list);
}

json describe_prefixes(const std::vector<IpPrefix>& list) {
    return texts_of(list);
}

json describe_port(const PublishedPort& port, const EndpointRecord& record, std::uint64_t connections) {
    return {{"address", optional_address(port.address)},
            {"port", port.port},
            {"proto", protocol_name(port.protocol)},
            {"container_port", port.container_port},
            {"container", record.members.empty() ? "" : record.members.front().container_id},
            {"endpoint", record.id},
            {"allowed", describe_prefixes(port.allowed)},
            {"hold_seconds", port.hold.count()},
            {"connections", connections}};
}

json describe_held(const datapath::Frontends& frontends) {
    json list = json::array();
    for (const auto& [address, port, protocol, left] : frontends.held()) {
        list.push_back({{"address", optional_address(address)},
                        {"port", port},
                        {"proto", protocol_name(protocol)},
                        {"seconds_left", left.count()}});
    }
    return list;
}

json describe_endpoint(const Endpoint& endpoint) {
    const EndpointRecord& record = endpoint.record;
    json containers = json::array();
    for (const Member& member : record.members) {
        containers.push_back(member.container_id);
    }
    return {{"id", record.id},
            {"containers", std::move(containers)},
            {"network", record.network},
            {"interface", record.interface_name},
            {"ipv4", optional_address(record.ipv4)},
            {"ipv6", optional_address(record.ipv6)},
            {"published", describe_ports(record.published)},
            {"mtu", record.mtu},
            {"device_mode", link::to_string(record.device_mode)},
            {"host_interface", record.host_name},
            {"host_ifindex", record.host_ifindex},
            {"state", endpoint.dying() ? "dying" : "ready"},
            {"created", describe_time(record.created)}};
}

json describe_endpoint_fully(const Endpoint& endpoint, const std::vector<datapath::EndpointDrop>& drops) {
    json result = describe_endpoint(endpoint);
    const EndpointRecord& record = endpoint.record;
    result["netns_cookie"] = record.netns_cookie;
    result["host_mac"] = record.host_mac.to_string();
    result["peer_mac"] = record.peer_mac.to_string();
    json members = json::array();
    for (const Member& member : record.members) {
        members.push_back(
            {{"container", member.container_id}, {"pid", member.pid ? json(*member.pid) : json(nullptr)}});
    }
    result["members"] = std::move(members);
    json dropped = json::array();
    for (const datapath::EndpointDrop& drop : drops) {
        dropped.push_back({{"name", drop.name},
                           {"packets", drop.packets},
                           {"last_ms_ago", milliseconds(drop.age)},
                           {"device", link::device_name(drop.device_ifindex)},
                           {"text", drop.text}});
    }
    result["drops"] = std::move(dropped);
    return result;
}

json describe_attach(const AttachReply& reply, const ContainerNames& names) {
    const EndpointRecord& record = reply.record;
    return {{"id", record.id},
            {"ipv4", optional_address(record.ipv4)},
            {"gateway4", reply.network.gateway4.to_string()},
            {"ipv6", optional_address(record.ipv6)},
            {"gateway6", optional_address(record.ipv6 ? reply.network.gateway6 : std::nullopt)},
            {"interface", record.interface_name},
            {"host_interface", record.host_name},
            {"device_mode", link::to_string(record.device_mode)},
            {"mtu", record.mtu},
            {"network", record.network},
            {"existing", reply.existing},
            {"kernel_wait_us", reply.kernel_wait.count()},
            {"name_servers", describe_addresses(names.servers)},
            {"resolv_conf", names.resolv_conf},
            {"notes", reply.notes}};
}

json describe_flow(const nat::Flow& flow, const std::string& container) {
    return {{"proto", protocol_name(flow.protocol)},
            {"source", flow.source.to_string()},
            {"source_port", flow.source_port},
            {"destination", flow.destination.to_string()},
            {"destination_port", flow.destination_port},
            {"translated", flow.translated.to_string()},
            {"translated_port", flow.translated_port},
            {"inbound", flow.inbound},
            {"inside", flow.inside},
            {"state", nat::to_string(flow.state)},
            {"age_ms", milliseconds(flow.age)},
            {"idle_ms", milliseconds(flow.idle)},
            {"endpoint", nat::is_of_host(flow.endpoint_id) ? NK_HOST_ID : flow.endpoint_id},
            {"container", container}};
}

}  // namespace netkitd
