// The endpoints of a node, found by all that they are known by: each look-up costs the same at a thousand of them.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "base/ip_addr.h"
#include "store/store.h"

namespace netkitd {

struct Endpoint {
    EndpointRecord record;
    std::set<std::string> exited = {};  // members whose process is over
    // The last process is gone, the netns not yet.
    [[nodiscard]] bool dying() const { return !exited.empty() && exited.size() == record.members.size(); }
};

// The container that messages name an endpoint by.
[[nodiscard]] std::string first_container(const EndpointRecord& record);

// A container may be a member of two endpoints, and an address may be held by two, while an attach replaces the former
// one by its successor: then the one that was put last is found.
class EndpointTable {
public:
    using ById = std::map<std::uint32_t, Endpoint>;

    // Replaces the endpoint of that id.
    Endpoint& put(Endpoint endpoint);
    // It must be there.
    Endpoint take(std::uint32_t id);

    [[nodiscard]] const ById& all() const { return by_id_; }
    [[nodiscard]] Endpoint& at(std::uint32_t id) { return by_id_.at(id); }
    [[nodiscard]] Endpoint* find_by_netns(std::uint64_t cookie) { return find(by_netns_, cookie); }
    [[nodiscard]] Endpoint* find_by_container(const std::string& id) { return find(by_container_, id); }
    [[nodiscard]] const Endpoint* find_by_container(const std::string& id) const;
    [[nodiscard]] const Endpoint* find_by_device(std::uint32_t host_ifindex) const;
    // The device may be gone with its netns, and not known to be.
    [[nodiscard]] bool has_host_name(const std::string& name) const { return by_host_name_.contains(name); }
    [[nodiscard]] bool has_address(const IpAddr& address) const { return by_address_.contains(address); }

private:
    template <typename Key>
    using Index = std::map<Key, std::uint32_t>;  // to the id

    template <typename Key>
    [[nodiscard]] Endpoint* find(const Index<Key>& index, const Key& key) {
        const auto found = index.find(key);
        return found == index.end() ? nullptr : &by_id_.at(found->second);
    }
    // Calls `visit` with each index and the key that `record` has in it.
    template <typename Visit>
    void for_each_key(const EndpointRecord& record, const Visit& visit);

    ById by_id_;
    Index<std::uint64_t> by_netns_;
    Index<std::uint32_t> by_device_;
    Index<std::string> by_host_name_;
    Index<std::string> by_container_;
    Index<IpAddr> by_address_;
};

}  // namespace netkitd
