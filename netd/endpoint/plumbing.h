// Everything the endpoint manager asks of the kernel, one step of the attach per function.
//
// An interface, because the manager's promise is about failures: a test stands between it and the kernel, fails each
// step in turn, and looks at what is left behind.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/published_port.h"
#include "base/result.h"
#include "config/config.h"
#include "datapath/datapath.h"
#include "endpoint/netns_changes.h"
#include "link/configure.h"
#include "link/device.h"
#include "link/host_sockets.h"
#include "link/sysctl.h"
#include "netlink/socket.h"

namespace netkitd {

// A container's netns while its endpoint is being made. Short-lived: the socket keeps the netns alive.
struct ContainerNetns {
    int fd = -1;  // borrowed
    link::Netlink netlink;
    link::Sysctls sysctls;
    std::uint64_t cookie = 0;
};

// The container's end of a pair, which another daemon made.
struct PeerIdentity {
    std::uint64_t netns_cookie = 0;
    std::string interface_name;
};

class Plumbing {
public:
    virtual ~Plumbing() = default;

    [[nodiscard]] virtual Result<ContainerNetns> enter(int netns_fd) = 0;
    [[nodiscard]] virtual Result<std::optional<link::Device>> find_container_device(ContainerNetns& netns,
                                                                                    const std::string& name) = 0;
    // Whether an interface that is made in the container's netns now may have IPv6 addresses.
    [[nodiscard]] virtual Result<bool> container_takes_ipv6(ContainerNetns& netns) = 0;
    [[nodiscard]] virtual Result<std::vector<link::Device>> host_devices() = 0;
    [[nodiscard]] virtual Result<std::optional<link::Device>> find_host_device(const std::string& name) = 0;

    [[nodiscard]] virtual Result<link::Pair> create_pair(ContainerNetns& netns, const link::PairSpec& spec) = 0;
    [[nodiscard]] virtual Result<void> remove_pair(std::uint32_t host_ifindex) = 0;

    [[nodiscard]] virtual Result<NetnsChanges> changes_for(ContainerNetns& netns) = 0;
    // The container's local ports become the masquerade pool, so that keeping a port is the rule.
    [[nodiscard]] virtual Result<void> set_local_ports(ContainerNetns& netns, const std::string& range) = 0;
    [[nodiscard]] virtual Result<void> undo_changes(ContainerNetns& netns, const NetnsChanges& changes) = 0;
    // The same of a netns that lives on without its endpoint, if it still is the one with this cookie. `fd`: of it, or
    // of a process in it.
    [[nodiscard]] virtual Result<void> undo_changes_in(int fd, std::uint64_t netns_cookie,
                                                       const NetnsChanges& changes) = 0;
    [[nodiscard]] virtual Result<void> configure_container_end(ContainerNetns& netns,
                                                               const link::ContainerEnd& end) = 0;

    [[nodiscard]] virtual Result<std::chrono::microseconds> attach_program(const std::string& host_name,
                                                                           std::uint32_t ifindex,
                                                                           link::DeviceMode mode) = 0;
    [[nodiscard]] virtual Result<void> detach_program(const std::string& host_name) = 0;
    [[nodiscard]] virtual Result<std::vector<std::string>> attached_programs() = 0;

    [[nodiscard]] virtual Result<void> put_entry(const datapath::EndpointEntry& entry) = 0;
    [[nodiscard]] virtual Result<void> remove_entry(const IpAddr& address) = 0;
    [[nodiscard]] virtual Result<std::vector<datapath::EndpointEntry>> entries() = 0;
    // The host's own connections get none of these ports, nor of those that are published, from now on.
    [[nodiscard]] virtual Result<void> reserve_ports(const std::vector<PublishedPort>& wanted) = 0;
    // Datapath::put_frontends(), remove_frontends() and end_frontends(); what is published no more is the host's again.
    [[nodiscard]] virtual Result<void> put_frontends(const std::vector<datapath::Frontend>& frontends) = 0;
    [[nodiscard]] virtual Result<void> remove_frontends(const std::vector<datapath::Frontend>& frontends) = 0;
    [[nodiscard]] virtual Result<void> end_frontends(const std::vector<datapath::Frontend>& frontends) = 0;
    // The host's own addresses, and what its programs have of ports.
    [[nodiscard]] virtual Result<std::vector<IpAddr>> own_addresses() = 0;
    [[nodiscard]] virtual Result<std::vector<link::HostSocket>> host_sockets(std::uint8_t protocol) = 0;
    [[nodiscard]] virtual Result<void> count_drops(std::uint32_t host_ifindex) = 0;
    [[nodiscard]] virtual Result<void> forget_drops(std::uint32_t host_ifindex) = 0;
    [[nodiscard]] virtual Result<std::vector<std::uint32_t>> devices_with_drops() = 0;

    // Segment sizes of the host's end, and of the other one: its netns is found by `process`, a pidfd, and left again.
    [[nodiscard]] virtual Result<void> set_host_sizes(std::uint32_t host_ifindex, const link::SegmentSizes& sizes) = 0;
    [[nodiscard]] virtual Result<std::optional<link::PeerEnd>> look_at_peer(std::uint32_t host_ifindex) = 0;
    [[nodiscard]] virtual Result<void> set_peer_sizes(int process, std::uint64_t netns_cookie,
                                                      std::uint32_t peer_ifindex, const link::SegmentSizes& sizes) = 0;

    // Whether anybody lives in the netns of the other end.
    [[nodiscard]] virtual Result<bool> peer_has_processes(std::uint32_t host_ifindex) = 0;
    // What the other ends of these are, by the ifindex of the host's; of those in whose netns somebody lives.
    [[nodiscard]] virtual Result<std::map<std::uint32_t, PeerIdentity>> identify_peers(
        const std::vector<std::uint32_t>& host_ifindexes) = 0;

    [[nodiscard]] virtual Result<void> set_host_end_up(std::uint32_t host_ifindex) = 0;
    // By netkitd0, to a container whose MTU is smaller than that one's.
    [[nodiscard]] virtual Result<void> add_host_route(const IpAddr& container, std::uint32_t mtu,
                                                      const std::optional<IpAddr>& gateway) = 0;
    // All to that address: of the first version, too. None is not an error.
    [[nodiscard]] virtual Result<void> remove_host_routes(const IpAddr& container) = 0;
    [[nodiscard]] virtual Result<std::set<link::HostRoute>> host_routes() = 0;
    // Returns when the container's end, both ends being up, sends and receives.
    [[nodiscard]] virtual Result<void> await_container_end(ContainerNetns& netns, const link::ContainerEnd& end) = 0;
};

// The kernel itself. Borrows what the daemon owns.
class KernelPlumbing final : public Plumbing {
public:
    struct OfNode {
        // PortReservation::reserve_published()
        std::function<Result<void>(std::set<std::uint16_t>)> reserve_ports;
        // take_answers_of_loopback()
        std::function<Result<void>(bool wanted)> let_answers_in;
    };
    KernelPlumbing(link::Netlink& host, datapath::Datapath& datapath, OfNode node)
        : host_(host), datapath_(datapath), node_(std::move(node)) {}

    Result<ContainerNetns> enter(int netns_fd) override;
    Result<std::optional<link::Device>> find_container_device(ContainerNetns& netns, const std::string& name) override;
    Result<bool> container_takes_ipv6(ContainerNetns& netns) override;
    Result<std::vector<link::Device>> host_devices() override;
    Result<std::optional<link::Device>> find_host_device(const std::string& name) override;
    Result<link::Pair> create_pair(ContainerNetns& netns, const link::PairSpec& spec) override;
    Result<void> remove_pair(std::uint32_t host_ifindex) override;
    Result<NetnsChanges> changes_for(ContainerNetns& netns) override;
    Result<void> set_local_ports(ContainerNetns& netns, const std::string& range) override;
    Result<void> undo_changes(ContainerNetns& netns, const NetnsChanges& changes) override;
    Result<void> undo_changes_in(int fd, std::uint64_t netns_cookie, const NetnsChanges& changes) override;
    Result<void> configure_container_end(ContainerNetns& netns, const link::ContainerEnd& end) override;
    Result<std::chrono::microseconds> attach_program(const std::string& host_name, std::uint32_t ifindex,
                                                     link::DeviceMode mode) override;
    Result<void> detach_program(const std::string& host_name) override;
    Result<std::vector<std::string>> attached_programs() override;
    Result<void> put_entry(const datapath::EndpointEntry& entry) override;
    Result<void> remove_entry(const IpAddr& address) override;
    Result<std::vector<datapath::EndpointEntry>> entries() override;
    Result<void> reserve_ports(const std::vector<PublishedPort>& wanted) override;
    Result<void> put_frontends(const std::vector<datapath::Frontend>& frontends) override;
    Result<void> remove_frontends(const std::vector<datapath::Frontend>& frontends) override;
    Result<void> end_frontends(const std::vector<datapath::Frontend>& frontends) override;
    // Of those that have waited for too long.
    [[nodiscard]] Result<void> end_holds();
    // As far as something is published that needs it.
    [[nodiscard]] Result<void> let_answers_in();
    Result<std::vector<IpAddr>> own_addresses() override;
    Result<std::vector<link::HostSocket>> host_sockets(std::uint8_t protocol) override;
    Result<void> count_drops(std::uint32_t host_ifindex) override;
    Result<void> forget_drops(std::uint32_t host_ifindex) override;
    Result<std::vector<std::uint32_t>> devices_with_drops() override;
    Result<void> set_host_sizes(std::uint32_t host_ifindex, const link::SegmentSizes& sizes) override;
    Result<std::optional<link::PeerEnd>> look_at_peer(std::uint32_t host_ifindex) override;
    Result<void> set_peer_sizes(int process, std::uint64_t netns_cookie, std::uint32_t peer_ifindex,
                                const link::SegmentSizes& sizes) override;
    Result<bool> peer_has_processes(std::uint32_t host_ifindex) override;
    Result<std::map<std::uint32_t, PeerIdentity>> identify_peers(
        const std::vector<std::uint32_t>& host_ifindexes) override;
    Result<void> set_host_end_up(std::uint32_t host_ifindex) override;
    Result<void> add_host_route(const IpAddr& container, std::uint32_t mtu,
                                const std::optional<IpAddr>& gateway) override;
    Result<void> remove_host_routes(const IpAddr& container) override;
    Result<std::set<link::HostRoute>> host_routes() override;
    Result<void> await_container_end(ContainerNetns& netns, const link::ContainerEnd& end) override;

private:
    [[nodiscard]] static Result<ContainerNetns> enter_any(int netns_fd);
    // What is published no more is the host's again.
    [[nodiscard]] Result<void> release_after(Result<void> removal);
    [[nodiscard]] Result<std::optional<PeerIdentity>> identify_peer(std::uint32_t host_ifindex, std::uint32_t process);

    link::Netlink& host_;
    datapath::Datapath& datapath_;
    OfNode node_;
};

}  // namespace netkitd
