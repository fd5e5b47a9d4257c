#include "endpoint/endpoint_table.h"

#include <utility>

#include "base/format.h"

namespace netkitd {

std::string first_container(const EndpointRecord& record) {
    return record.members.empty() ? formatted("endpoint {}", record.id) : record.members.front().container_id;
}

template <typename Visit>
void EndpointTable::for_each_key(const EndpointRecord& record, const Visit& visit) {
    visit(by_netns_, record.netns_cookie);
    visit(by_device_, record.host_ifindex);
    visit(by_host_name_, record.host_name);
    for (const Member& member : record.members) {
        visit(by_container_, member.container_id);
    }
    for (const IpAddr& address : record.addresses()) {
        visit(by_address_, address);
    }
}

Endpoint& EndpointTable::put(Endpoint endpoint) {
    const std::uint32_t id = endpoint.record.id;
    if (by_id_.contains(id)) {
        take(id);
    }
    for_each_key(endpoint.record, [&](auto& index, const auto& key) { index.insert_or_assign(key, id); });
    return by_id_.emplace(id, std::move(endpoint)).first->second;
}

Endpoint EndpointTable::take(std::uint32_t id) {
    Endpoint endpoint = std::move(by_id_.at(id));
    by_id_.erase(id);
    for_each_key(endpoint.record, [&](auto& index, const auto& key) {
        // Not what has moved on to a successor.
        if (const auto found = index.find(key); found != index.end() && found->second == id) {
            index.erase(found);
        }
    });
    return endpoint;
}

const Endpoint* EndpointTable::find_by_container(const std::string& id) const {
    const auto found = by_container_.find(id);
    return found == by_container_.end() ? nullptr : &by_id_.at(found->second);
}

const Endpoint* EndpointTable::find_by_device(std::uint32_t host_ifindex) const {
    const auto found = by_device_.find(host_ifindex);
    return found == by_device_.end() ? nullptr : &by_id_.at(found->second);
}

}  // namespace netkitd
