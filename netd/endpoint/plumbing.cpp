#include "endpoint/plumbing.h"

#include <algorithm>
#include <iterator>

#include "base/log.h"
#include "link/netns_processes.h"
#include "link/readiness.h"
#include "link/uplink.h"
#include "netlink/netns.h"

namespace netkitd {
namespace {

// It takes a millisecond unless others hold the kernel's rtnl lock. Nobody else is served meanwhile.
constexpr std::chrono::seconds kReadinessPatience{2};

constexpr const char* kLocalPorts = "ipv4/ip_local_port_range";
// Of a new netns (inet_init_net() in net/ipv4/af_inet.c), as the kernel writes it. Anything else is somebody's choice.
constexpr const char* kKernelsLocalPorts = "32768\t60999";

}  // namespace

Result<ContainerNetns> KernelPlumbing::enter(int netns_fd) {
    NK_TRY(link::require_netns(netns_fd));
    return enter_any(netns_fd);
}

// A process's, too, by its pidfd (setns(2)).
Result<ContainerNetns> KernelPlumbing::enter_any(int netns_fd) {
    std::optional<link::Netlink> netlink;
    std::optional<link::Sysctls> sysctls;
    NK_TRY(link::in_netns(netns_fd, [&]() -> Result<void> {
        netlink = NK_TRY(link::Netlink::open());
        sysctls = NK_TRY(link::Sysctls::open());
        return {};
    }));
    const std::uint64_t cookie = NK_TRY(netlink->netns_cookie());
    return ContainerNetns{
        .fd = netns_fd, .netlink = std::move(*netlink), .sysctls = std::move(*sysctls), .cookie = cookie};
}

Result<std::optional<link::Device>> KernelPlumbing::find_container_device(ContainerNetns& netns,
                                                                          const std::string& name) {
    return link::find_device(netns.netlink, name);
}

Result<bool> KernelPlumbing::container_takes_ipv6(ContainerNetns& netns) {
    bool takes = true;
    NK_TRY(link::in_netns(netns.fd, [&]() -> Result<void> {
        // A new interface begins with `default`; `all` says what the container wants although it was set before.
        for (const char* path : {"ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6"}) {
            const auto disabled = NK_TRY(netns.sysctls.read_if_there(path));
            takes = takes && disabled == "0";
        }
        return {};
    }));
    return takes;
}

Result<std::vector<link::Device>> KernelPlumbing::host_devices() {
    return link::list_devices(host_);
}

Result<std::optional<link::Device>> KernelPlumbing::find_host_device(const std::string& name) {
    return link::find_device(host_, name);
}

Result<link::Pair> KernelPlumbing::create_pair(ContainerNetns& netns, const link::PairSpec& spec) {
    return link::create_pair(host_, netns.netlink, spec);
}

Result<void> KernelPlumbing::remove_pair(std::uint32_t host_ifindex) {
    return link::remove_device(host_, host_ifindex);
}

Result<NetnsChanges> KernelPlumbing::changes_for(ContainerNetns& netns) {
    NetnsChanges changes;
    const auto loopback = NK_TRY(link::find_device(netns.netlink, "lo"));
    changes.loopback_up = loopback && !loopback->up;
    NK_TRY(link::in_netns(netns.fd, [&]() -> Result<void> {
        changes.local_ports = NK_TRY(netns.sysctls.read(kLocalPorts)) == kKernelsLocalPorts;
        return {};
    }));
    return changes;
}

Result<void> KernelPlumbing::set_local_ports(ContainerNetns& netns, const std::string& range) {
    return link::in_netns(netns.fd, [&] { return netns.sysctls.write(kLocalPorts, range); });
}

Result<void> KernelPlumbing::undo_changes(ContainerNetns& netns, const NetnsChanges& changes) {
    Result<void> undone;
    if (changes.local_ports) {
        undone = link::in_netns(netns.fd, [&] { return netns.sysctls.write(kLocalPorts, kKernelsLocalPorts); });
    }
    if (changes.loopback_up) {
        keep_first(undone, link::take_loopback_down(netns.netlink));
    }
    return undone;
}

Result<void> KernelPlumbing::undo_changes_in(int fd, std::uint64_t netns_cookie, const NetnsChanges& changes) {
    ContainerNetns netns = NK_TRY(enter_any(fd));
    return netns.cookie == netns_cookie ? undo_changes(netns, changes) : Result<void>();
}

Result<void> KernelPlumbing::configure_container_end(ContainerNetns& netns, const link::ContainerEnd& end) {
    return link::configure_container_end(netns.netlink, end);
}

Result<std::chrono::microseconds> KernelPlumbing::attach_program(const std::string& host_name, std::uint32_t ifindex,
                                                                 link::DeviceMode mode) {
    return datapath_.attach_endpoint(host_name, ifindex, mode);
}

Result<void> KernelPlumbing::detach_program(const std::string& host_name) {
    return datapath_.detach_endpoint(host_name);
}

Result<std::vector<std::string>> KernelPlumbing::attached_programs() {
    return datapath_.attached_endpoints();
}

Result<void> KernelPlumbing::put_entry(const datapath::EndpointEntry& entry) {
    return datapath_.put_endpoint(entry);
}

Result<void> KernelPlumbing::remove_entry(const IpAddr& address) {
    return datapath_.remove_endpoint(address);
}

Result<std::vector<datapath::EndpointEntry>> KernelPlumbing::entries() {
    return datapath_.endpoints();
}

Result<void> KernelPlumbing::reserve_ports(const std::vector<PublishedPort>& wanted) {
    std::set<std::uint16_t> ports = datapath_.frontends().ports();
    std::ranges::transform(wanted, std::inserter(ports, ports.end()), &PublishedPort::port);
    return node_.reserve_ports(std::move(ports));
}

Result<void> KernelPlumbing::put_frontends(const std::vector<datapath::Frontend>& frontends) {
    std::vector<datapath::Frontend> found = frontends;
    for (datapath::Frontend& frontend : found) {
        if (frontend.hold != std::chrono::seconds::zero()) {
            frontend.netns_id = NK_TRY(link::peer_netns_id(host_, frontend.host_ifindex));
        }
    }
    NK_TRY(datapath_.put_frontends(found));
    if (const Result<void> let = let_answers_in(); !let) {
        log(LogLevel::warning, "{}", let.error().message());  // they are published all the same
    }
    return {};
}

Result<void> KernelPlumbing::let_answers_in() {
    return node_.let_answers_in(datapath_.frontends().any_without_connection());
}

Result<void> KernelPlumbing::release_after(Result<void> removal) {
    keep_first(removal, reserve_ports({}));
    keep_first(removal, let_answers_in());
    return removal;
}

Result<void> KernelPlumbing::remove_frontends(const std::vector<datapath::Frontend>& frontends) {
    return release_after(datapath_.remove_frontends(frontends));
}

Result<void> KernelPlumbing::end_frontends(const std::vector<datapath::Frontend>& frontends) {
    return release_after(datapath_.end_frontends(frontends));
}

Result<void> KernelPlumbing::end_holds() {
    return datapath_.frontends().any_waits() ? release_after(datapath_.end_holds()) : Result<void>();
}

Result<std::vector<IpAddr>> KernelPlumbing::own_addresses() {
    return link::own_addresses(host_);
}

Result<std::vector<link::HostSocket>> KernelPlumbing::host_sockets(std::uint8_t protocol) {
    return link::host_sockets(protocol);
}

Result<void> KernelPlumbing::count_drops(std::uint32_t host_ifindex) {
    return datapath_.count_drops(host_ifindex);
}

Result<void> KernelPlumbing::forget_drops(std::uint32_t host_ifindex) {
    return datapath_.forget_drops(host_ifindex);
}

Result<std::vector<std::uint32_t>> KernelPlumbing::devices_with_drops() {
    return datapath_.devices_with_drops();
}

Result<void> KernelPlumbing::set_host_sizes(std::uint32_t host_ifindex, const link::SegmentSizes& sizes) {
    return link::set_segment_sizes(host_, host_ifindex, sizes);
}

Result<std::optional<link::PeerEnd>> KernelPlumbing::look_at_peer(std::uint32_t host_ifindex) {
    return link::look_at_peer(host_, host_ifindex);
}

Result<void> KernelPlumbing::set_peer_sizes(int process, std::uint64_t netns_cookie, std::uint32_t peer_ifindex,
                                            const link::SegmentSizes& sizes) {
    // setns(2) takes a pidfd too: no descriptor of the netns is ever there that could keep it alive.
    link::Netlink container = NK_TRY(link::Netlink::open_in(process));
    if (NK_TRY(container.netns_cookie()) != netns_cookie) {
        return fail(ErrorKind::not_found, "the container's process has gone to another network namespace");
    }
    return link::set_segment_sizes(container, peer_ifindex, sizes);
}

Result<bool> KernelPlumbing::peer_has_processes(std::uint32_t host_ifindex) {
    return link::peer_netns_has_processes(host_, host_ifindex);
}

// None: it has gone meanwhile.
Result<std::optional<PeerIdentity>> KernelPlumbing::identify_peer(std::uint32_t host_ifindex, std::uint32_t process) {
    const auto peer = NK_TRY(link::look_at_peer(host_, host_ifindex));
    const auto netns = link::open_netns(formatted("/proc/{}/ns/net", process));
    if (!peer || !netns) {
        return std::nullopt;
    }
    link::Netlink container = NK_TRY(link::Netlink::open_in(netns->get()));
    const auto devices = NK_TRY(link::list_devices(container));
    const auto device = std::ranges::find(devices, peer->ifindex, &link::Device::ifindex);
    if (device == devices.end()) {
        return std::nullopt;
    }
    return PeerIdentity{.netns_cookie = NK_TRY(container.netns_cookie()), .interface_name = device->name};
}

Result<std::map<std::uint32_t, PeerIdentity>> KernelPlumbing::identify_peers(
    const std::vector<std::uint32_t>& host_ifindexes) {
    // First: asking for a device may be what gives the netns its number.
    std::map<std::uint32_t, std::optional<std::uint32_t>> netns_ids;
    for (const std::uint32_t host_ifindex : host_ifindexes) {
        netns_ids.emplace(host_ifindex, NK_TRY(link::peer_netns_id(host_, host_ifindex)));
    }
    const auto processes = NK_TRY(link::processes_by_netns_id(host_));
    std::map<std::uint32_t, PeerIdentity> peers;
    for (const auto& [host_ifindex, netns_id] : netns_ids) {
        const auto process = netns_id ? processes.find(*netns_id) : processes.end();
        if (process == processes.end()) {
            continue;
        }
        if (auto peer = NK_TRY(identify_peer(host_ifindex, process->second))) {
            peers.emplace(host_ifindex, std::move(*peer));
        }
    }
    return peers;
}

Result<void> KernelPlumbing::set_host_end_up(std::uint32_t host_ifindex) {
    return link::set_device_up(host_, host_ifindex);
}

Result<void> KernelPlumbing::add_host_route(const IpAddr& container, std::uint32_t mtu,
                                            const std::optional<IpAddr>& gateway) {
    const auto device = NK_TRY(link::find_device(host_, std::string(link::kHostDeviceName)));
    if (!device) {
        return fail(ErrorKind::unavailable, "{} is gone; it will be made again", link::kHostDeviceName);
    }
    return link::add_host_route(host_, {.container = container, .ifindex = device->ifindex, .mtu = mtu}, gateway);
}

Result<void> KernelPlumbing::remove_host_routes(const IpAddr& container) {
    return link::remove_host_routes(host_, container);
}

Result<std::set<link::HostRoute>> KernelPlumbing::host_routes() {
    return link::list_host_routes(host_);
}

Result<void> KernelPlumbing::await_container_end(ContainerNetns& netns, const link::ContainerEnd& end) {
    return link::await_readiness(netns.netlink, end.ifindex, end.ipv6, kReadinessPatience);
}

}  // namespace netkitd
