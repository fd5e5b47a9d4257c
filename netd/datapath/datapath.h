// The datapath as the daemon sees it: programs, links, maps and the node configuration.
//
// Everything that packets need is pinned, so traffic flows while no daemon runs. open() reuses pinned maps; links that
// are pinned already get the new programs by an update in place, so no packet is lost over a restart or an upgrade.
// Link descriptors are closed once pinned: the daemon holds nothing per endpoint.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "abi.h"
#include "base/ip_addr.h"
#include "base/result.h"
#include "datapath/flow_capacity.h"
#include "datapath/frontends.h"
#include "datapath/loopback_program.h"
#include "datapath/namespaces.h"
#include "datapath/pins.h"
#include "datapath/socket_hooks.h"
#include "link/device.h"

namespace netkitd::datapath {

class Upgrade;

struct NodeNetwork {
    IpPrefix prefix;
    IpAddr gateway;
    bool masquerade = true;
    bool isolated = false;
    bool accept_forwarded = false;                // what the host's stack forwards gets in, whoever sent it
    std::optional<IpAddr> source = std::nullopt;  // to masquerade with, and no other
    bool source_missing = false;                  // it is not (yet) an address of the host
};

struct NodeSettings {
    std::uint32_t host_device = 0;  // ifindex of netkitd0 (link/host_device.h), and its address
    link::MacAddr host_device_mac = {};
    std::vector<NodeNetwork> networks;               // of both families
    std::vector<IpPrefix> non_masquerade = {};       // of both families
    std::vector<IpPrefix> host = {};                 // of both families: the host's own, although in a network's prefix
    std::map<std::uint32_t, std::uint32_t> uplinks;  // ifindex -> nk_uplink_flag
    bool suppressed6 = false;                        // by a policy rule, routes of IPv6 (nk_node.suppressed6)
    std::vector<std::uint32_t> mtus = {};            // abi.h, nk_node.mtus
    std::uint16_t port_first = 0;
    std::uint16_t port_last = 0;
    std::vector<OwnAddress> own_addresses = {};
};

struct EndpointEntry {
    IpAddr address;
    std::uint32_t id = 0;
    std::uint32_t home = 0;
    std::uint32_t host_ifindex = 0;
    link::DeviceMode device_mode{};
    link::MacAddr peer_mac;
    link::MacAddr host_mac;
    bool publishes = false;          // there are frontends that lead there
    std::uint64_t netns_cookie = 0;  // endpoints() does not know it
};

// Somebody else's program at one of an uplink's tcx hooks.
struct ForeignProgram {
    std::string uplink;
    std::string direction;  // "ingress" or "egress"
    std::string name;       // as `bpftool prog` shows it, may be empty
    std::uint32_t id = 0;
    bool before = false;  // it sees packets before netkitd's program, which gets what it lets pass
};

// Whether its packets have an Ethernet header, or begin with that of the network: each has programs of its own.
enum class UplinkKind : std::uint8_t { ethernet, l3 };

struct UplinkPrograms {
    bool complete = false;  // this daemon's programs are attached in both directions
    std::vector<ForeignProgram> foreign;
};

struct Counter {
    std::string name;  // "unknown-N": a newer version counted it, which was here before
    std::string text;
    bool drop = false;
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
};

// What was dropped of an endpoint's packets, for one reason.
struct EndpointDrop {
    nk_counter reason{};
    std::string_view name;
    std::string_view text;
    std::uint64_t packets = 0;
    std::chrono::nanoseconds age{};    // of the last one
    std::uint32_t device_ifindex = 0;  // no-uplink: where its route led to
};

class Datapath {
public:
    // Makes the maps, or takes those that are there. `directory` is on a bpffs. The programs of the containers that are
    // expected, and of an uplink with Ethernet, are loaded with them, so that the first container does not wait for the
    // verifier; others when the first device needs them (programs.h). The verifier's log is in the error then.
    [[nodiscard]] static Result<Datapath> open(const std::string& directory,
                                               std::optional<link::DeviceMode> expected = std::nullopt);
    Datapath(Datapath&&) noexcept;
    Datapath& operator=(Datapath&&) noexcept;
    Datapath(const Datapath&) = delete;
    Datapath& operator=(const Datapath&) = delete;
    ~Datapath();

    // Unpins the maps that open() has made, while no device has a program of it: the version before starts again then.
    [[nodiscard]] Result<void> undo_open();
    // Where somebody removed pins of the maps, or all there is: they are pinned again. What the links held is gone.
    [[nodiscard]] Result<void> put_back_pins();

    // What another version's maps hold is being taken over (upgrade.h). The caller gives every link its new program,
    // and then finishes: an error, as long as one has not. From then on the host's own flows are noted
    // (bpf/lib/nat/host_flow.h), so that this is called after every start.
    [[nodiscard]] bool upgrading() const;
    [[nodiscard]] Result<void> finish_upgrade();

    // Takes effect for the next packet; what stays as it is is in force all the while. Refused when it exceeds
    // NK_MAX_NETWORKS, NK_MAX_UPLINKS or NK_MAX_NON_MASQUERADE.
    [[nodiscard]] Result<void> configure(const NodeSettings& settings);

    // Attaches the container program to the host's end and pins the link under `host_name`; when a pinned link is
    // there already, its program is replaced in place. Returns the time that the kernel took to attach.
    [[nodiscard]] Result<std::chrono::microseconds> attach_endpoint(const std::string& host_name, std::uint32_t ifindex,
                                                                    link::DeviceMode mode);
    [[nodiscard]] Result<void> detach_endpoint(const std::string& host_name);
    [[nodiscard]] Result<std::vector<std::string>> attached_endpoints() const;

    [[nodiscard]] Result<void> put_endpoint(const EndpointEntry& endpoint);
    // An address that has no entry is not an error.
    [[nodiscard]] Result<void> remove_endpoint(const IpAddr& address);
    [[nodiscard]] Result<std::vector<EndpointEntry>> endpoints() const;

    // Frontends::put(), remove() and end(). The flows that began at ports that were taken back end at once.
    [[nodiscard]] Result<void> put_frontends(std::span<const Frontend> frontends);
    [[nodiscard]] Result<void> remove_frontends(std::span<const Frontend> frontends);
    [[nodiscard]] Result<void> end_frontends(std::span<const Frontend> frontends);
    [[nodiscard]] Result<void> end_holds();
    [[nodiscard]] const Frontends& frontends() const { return frontends_; }
    // Whether this host itself reaches published ports, by what its sockets (socket_hooks.h) and its loopback device
    // (loopback_program.h) run, or why it does not: the ports are published all the same.
    [[nodiscard]] const Result<void>& reached_from_host() const { return reached_from_host_; }
    [[nodiscard]] const SocketHooks& socket_hooks() const { return socket_hooks_; }
    [[nodiscard]] const LoopbackProgram& loopback_program() const { return loopback_program_; }
    // From now on these programs follow what is published, once it is known whose addresses and namespaces are whose: a
    // daemon's before are there until then. Where somebody removed some, they are put back.
    void let_host_reach_containers();

    // Drops of what the container behind this device sends are counted from then on; what is counted already stays.
    [[nodiscard]] Result<void> count_drops(std::uint32_t host_ifindex);
    [[nodiscard]] Result<void> forget_drops(std::uint32_t host_ifindex);
    // Of which devices they are counted.
    [[nodiscard]] Result<std::vector<std::uint32_t>> devices_with_drops() const;
    // Those that happened. NK_DROPS_OF_HOST: of the host's packets, those whose flow was not noted.
    [[nodiscard]] Result<std::vector<EndpointDrop>> endpoint_drops(std::uint32_t host_ifindex) const;

    // What the host sends to containers leaves by this device.
    [[nodiscard]] Result<void> attach_host_device(std::uint32_t ifindex);

    // Both directions of one uplink. `name` may only be used in messages and pins, `ifindex` decides.
    [[nodiscard]] Result<void> attach_uplink(const std::string& name, std::uint32_t ifindex, UplinkKind kind);
    [[nodiscard]] Result<void> detach_uplink(std::uint32_t ifindex);
    [[nodiscard]] Result<UplinkPrograms> look_at_uplink(const std::string& name, std::uint32_t ifindex,
                                                        UplinkKind kind) const;
    // ifindex of every uplink that has a pinned link.
    [[nodiscard]] Result<std::vector<std::uint32_t>> attached_uplinks() const;

    // Those that this version knows, and the others that are not zero.
    [[nodiscard]] Result<std::vector<Counter>> counters() const;
    // Packets of one counter.
    [[nodiscard]] Result<std::uint64_t> counted(nk_counter counter) const;
    // New flows by how many ports were tried: enum nk_port_tries.
    [[nodiscard]] Result<std::array<std::uint64_t, NK_PORT_TRIES_BUCKETS>> port_tries() const;

    // One family's flow map; the descriptor is borrowed. A flow has two entries.
    struct FlowMap {
        int fd = -1;
        std::uint32_t capacity = 0;
    };
    [[nodiscard]] FlowMap flow_map(IpFamily family) const;
    // Entries of both families' flow maps, as the kernel counts them.
    [[nodiscard]] Result<nk_map_counts> map_counts() const;
    // Removes them, unless they have changed; each is answered.
    [[nodiscard]] Result<void> remove_flows(std::span<nk_flow_removal> removals) const;
    // Shares out among so many endpoints, from now on, what all have in common: the flow maps, the host's neighbours.
    void share_out(std::size_t endpoints) const;
    [[nodiscard]] FlowShares flow_shares(IpFamily family) const;
    struct FlowCount {
        std::uint32_t endpoint_id = 0;
        nk_flow_counts flows{};
    };
    // Of all endpoints whose flows are counted; those that have ended too.
    [[nodiscard]] Result<std::vector<FlowCount>> flow_counts() const;
    [[nodiscard]] Result<void> forget_flow_count(std::uint32_t endpoint_id) const;
    // Answers each: whether a socket of the container has this connection (bpf/owner_sockets.bpf.c). In the calling
    // thread's netns, the host's.
    [[nodiscard]] Result<void> ask_owner_sockets(std::span<nk_socket_question> questions) const;
    // Of each family.
    [[nodiscard]] std::uint32_t endpoint_capacity() const;

private:
    [[nodiscard]] int endpoint_map(IpFamily family) const;
    void follow_frontends();
    void end_their_flows();
    void note_reached_from_host(Result<void> reached);
    [[nodiscard]] Result<std::optional<std::string>> link_of_former_program() const;
    Datapath(std::unique_ptr<Programs> programs, Pins pins, std::unique_ptr<Upgrade> upgrade,
             std::vector<std::string> former_maps);

    std::unique_ptr<Programs> programs_;
    Pins pins_;
    std::unique_ptr<Upgrade> upgrade_;
    std::vector<std::string> former_maps_;  // that were pinned before open()
    Frontends frontends_;
    Namespaces namespaces_;
    SocketHooks socket_hooks_;
    LoopbackProgram loopback_program_;
    bool follows_frontends_ = false;
    Result<void> reached_from_host_;
};

}  // namespace netkitd::datapath
