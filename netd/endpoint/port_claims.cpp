#include "endpoint/port_claims.h"

#include <algorithm>
#include <cstdint>
#include <set>

#include "base/format.h"
#include "base/ip_protocol.h"
#include "config/own_addresses.h"
#include "link/host_sockets.h"

namespace netkitd {
namespace {

Result<void> check_containers(const std::vector<PublishedPort>& wanted, const EndpointTable& endpoints,
                              const Endpoint* predecessor) {
    for (const auto& [id, endpoint] : endpoints.all()) {
        const EndpointRecord& other = endpoint.record;
        if (predecessor != nullptr && predecessor->record.id == id) {
            continue;
        }
        for (const PublishedPort& theirs : other.published) {
            const auto clash =
                std::ranges::find_if(wanted, [&](const PublishedPort& port) { return port.clashes_with(theirs); });
            if (clash != wanted.end()) {
                return fail(ErrorKind::refused, "{}: container {} has that port ({}): publish another one, or end it",
                            clash->to_string(), first_container(other), theirs.to_string());
            }
        }
    }
    return {};
}

Result<void> check_address(const PublishedPort& port, const std::vector<IpAddr>& own, const Config& config) {
    if (!std::ranges::contains(own, *port.address)) {
        return fail(ErrorKind::refused,
                    "{}: this host does not have {}: publish by an address that it has, or by none for all",
                    port.to_string(), port.address->to_string());
    }
    if (is_gateway(config, *port.address)) {
        return fail(ErrorKind::refused,
                    "{}: {} is the gateway of a network of containers, and no published port's address: publish by "
                    "another one, or by none for all",
                    port.to_string(), port.address->to_string());
    }
    return {};
}

Result<void> check_addresses(const std::vector<PublishedPort>& wanted, const Config& config, Plumbing& plumbing) {
    const auto is_to_be_had = [](const PublishedPort& port) { return port.address && !port.address->is_loopback(); };
    if (std::ranges::none_of(wanted, is_to_be_had)) {
        return {};
    }
    const std::vector<IpAddr> own = NK_TRY(plumbing.own_addresses());
    for (const PublishedPort& port : wanted) {
        if (is_to_be_had(port)) {
            NK_TRY(check_address(port, own, config));
        }
    }
    return {};
}

bool takes(const link::HostSocket& socket, const PublishedPort& port, const Config& config) {
    if (port.port != socket.port) {
        return false;
    }
    if (port.address) {
        return socket.takes(*port.address);
    }
    return config.publish_addresses.empty() || socket.is_wildcard() || is_publish_address(config, socket.address);
}

}  // namespace

Result<void> check_programs(const std::vector<PublishedPort>& wanted, const Config& config, Plumbing& plumbing) {
    std::set<std::uint8_t> protocols;
    std::ranges::transform(wanted, std::inserter(protocols, protocols.end()), &PublishedPort::protocol);
    for (const std::uint8_t protocol : protocols) {
        for (const link::HostSocket& socket : NK_TRY(plumbing.host_sockets(protocol))) {
            const auto taken = std::ranges::find_if(wanted, [&](const PublishedPort& port) {
                return port.protocol == protocol && takes(socket, port, config);
            });
            if (taken != wanted.end()) {
                return fail(ErrorKind::refused,
                            "{}: port {}/{} of this host is taken by {}: publish another one, or end that",
                            taken->to_string(), socket.port, protocol_name(protocol), link::holder_of(socket.inode));
            }
        }
    }
    return {};
}

Result<void> check_port_claims(const std::vector<PublishedPort>& wanted, const EndpointTable& endpoints,
                               const Endpoint* predecessor, const Config& config, Plumbing& plumbing) {
    NK_TRY(check_containers(wanted, endpoints, predecessor));
    NK_TRY(check_addresses(wanted, config, plumbing));
    return check_programs(wanted, config, plumbing);
}

}  // namespace netkitd
