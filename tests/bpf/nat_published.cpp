#include "bpf/nat_published.h"

#include <algorithm>

namespace netkitd::test {
namespace {

template <typename Predicate>
const PublishedPort* find(const std::vector<PublishedPort>& ports, const Predicate& is_it) {
    const auto found = std::ranges::find_if(ports, is_it);
    return found == ports.end() ? nullptr : &*found;
}

}  // namespace

void PublishedPorts::put(const PublishedPort& published) {
    take_back(published);
    there_.push_back(published);
}

void PublishedPorts::take_back(const PublishedPort& published) {
    std::erase_if(there_, [&](const PublishedPort& one) { return one.is_at_port_of(published); });
}

const PublishedPort* PublishedPorts::at(std::uint8_t protocol, bool ipv6, std::uint16_t port) const {
    return find(there_, [&](const PublishedPort& one) {
        return one.port == port && one.protocol == protocol && one.is_ipv6() == ipv6;
    });
}

const PublishedPort* PublishedPorts::face_of(std::uint8_t protocol, const std::string& container,
                                             std::uint16_t port) const {
    return find(there_, [&](const PublishedPort& one) { return one.leads_to(protocol, container, port); });
}

bool PublishedPorts::has(std::uint8_t protocol, std::uint16_t port) const {
    return at(protocol, false, port) != nullptr || at(protocol, true, port) != nullptr;
}

}  // namespace netkitd::test
