// The node's ports that are published, as plainly as it can be said: what the model of NAT (nat_model.h) knows of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace netkitd::test {

// Where somebody outside reaches a container.
struct PublishedPort {
    std::uint8_t protocol = 0;
    std::uint16_t port = 0;  // of the node
    std::string container;
    std::uint16_t container_port = 0;
    std::string allowed = {};  // the only remote that may come; empty: whoever wants to

    [[nodiscard]] bool is_ipv6() const { return container.contains(':'); }
    [[nodiscard]] bool admits(const std::string& remote) const { return allowed.empty() || allowed == remote; }
    // Whether they can't be there both.
    [[nodiscard]] bool is_at_port_of(const PublishedPort& other) const {
        return protocol == other.protocol && port == other.port && is_ipv6() == other.is_ipv6();
    }
    [[nodiscard]] bool leads_to(std::uint8_t its_protocol, const std::string& address, std::uint16_t its_port) const {
        return protocol == its_protocol && container == address && container_port == its_port;
    }
};

class PublishedPorts {
public:
    // In place of what is at that port, if there is something.
    void put(const PublishedPort& published);
    void take_back(const PublishedPort& published);
    [[nodiscard]] const std::vector<PublishedPort>& all() const { return there_; }
    // NULL: nothing is there.
    [[nodiscard]] const PublishedPort* at(std::uint8_t protocol, bool ipv6, std::uint16_t port) const;
    // By which one a container's port is known outside: of several, the first that was put. NULL: by none.
    [[nodiscard]] const PublishedPort* face_of(std::uint8_t protocol, const std::string& container,
                                               std::uint16_t port) const;
    // Whether one of either family is there.
    [[nodiscard]] bool has(std::uint8_t protocol, std::uint16_t port) const;

private:
    std::vector<PublishedPort> there_;  // in the order in which they were put
};

}  // namespace netkitd::test
