// EndpointManager::adopt(): where the database was lost (deleted, damaged, another one is configured), the endpoints of
// the containers that run, as the kernel and the pins have them. They keep their network; who made them is known by the
// alias of the host's end.
#include <algorithm>
#include <iterator>
#include <utility>

#include "base/log.h"
#include "endpoint/host_name.h"
#include "endpoint/manager.h"
#include "endpoint/netns_changes.h"

namespace netkitd {
namespace {

std::string network_of(const Config& config, const IpAddr& address) {
    const auto holds = [&](const NetworkConfig& network) {
        return network.ipv4.contains(address) || (network.ipv6 && network.ipv6->contains(address));
    };
    const auto network = std::ranges::find_if(config.networks, holds);
    return network == config.networks.end() ? "" : network->name;
}

// None: an attach that was cut short had not got so far, or its network is no more.
std::optional<EndpointRecord> record_of(const link::Device& device, const std::vector<datapath::EndpointEntry>& entries,
                                        const Config& config) {
    EndpointRecord record;
    record.host_ifindex = device.ifindex;
    for (const datapath::EndpointEntry& entry : entries) {
        if (entry.host_ifindex != device.ifindex) {
            continue;
        }
        (entry.address.is_v4() ? record.ipv4 : record.ipv6) = entry.address;
        record.id = entry.id;
        record.home = entry.home;
        record.device_mode = entry.device_mode;
        record.host_mac = entry.host_mac;
        record.peer_mac = entry.peer_mac;
        record.network = network_of(config, entry.address);
    }
    const std::string container = container_in(device.alias);
    if (record.network.empty() || container.empty()) {
        return std::nullopt;
    }
    record.mtu = device.mtu;
    record.created = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    record.members.push_back({.container_id = container, .pid = std::nullopt, .pid_start_time = 0});
    return record;
}

// The name that it was made with: its program's pin has it, whatever it is called by now. Empty: it has no program.
std::string name_of_pin(const link::Device& device, const std::vector<std::string>& programs) {
    if (std::ranges::contains(programs, device.name)) {
        return device.name;
    }
    for (std::uint32_t attempt = 0; attempt < kHostNameAttempts; ++attempt) {
        std::string name = host_device_name(container_in(device.alias), attempt);
        if (std::ranges::contains(programs, name)) {
            return name;
        }
    }
    return {};
}

bool publishes(const EndpointRecord& record, const std::vector<datapath::EndpointEntry>& entries) {
    return std::ranges::any_of(
        entries, [&](const datapath::EndpointEntry& entry) { return entry.publishes && record.has(entry.address); });
}

}  // namespace

Result<std::size_t> EndpointManager::adopt() {
    const auto programs = NK_TRY(plumbing_.attached_programs());
    const auto entries = NK_TRY(plumbing_.entries());
    std::vector<EndpointRecord> records;
    for (const link::Device& device : NK_TRY(plumbing_.host_devices())) {
        std::string name = device.is_host_end() ? name_of_pin(device, programs) : "";
        auto record = name.empty() ? std::nullopt : record_of(device, entries, settings_.config);
        if (record) {
            record->host_name = std::move(name);
            records.push_back(std::move(*record));
        }
    }
    if (records.empty()) {
        return 0;
    }
    std::vector<std::uint32_t> devices;
    std::ranges::transform(records, std::back_inserter(devices), &EndpointRecord::host_ifindex);
    auto peers = NK_TRY(plumbing_.identify_peers(devices));
    for (EndpointRecord& record : records) {
        const PeerIdentity peer = std::exchange(peers[record.host_ifindex], {});
        record.netns_cookie = peer.netns_cookie;
        record.interface_name = peer.interface_name;
        NK_TRY(store_.put_endpoint(record));
        log(LogLevel::warning, "{}: its record was lost; it keeps {}{}", first_container(record), record.address_text(),
            publishes(record, entries) ? ", but not what it published: start it again" : "");
    }
    return records.size();
}

}  // namespace netkitd
