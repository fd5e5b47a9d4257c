// Devices: the pair of an endpoint, and what is asked of any device.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_addr.h"
#include "base/result.h"
#include "link/segment_sizes.h"
#include "netlink/socket.h"

namespace netkitd::link {

struct MacAddr {
    std::array<std::uint8_t, 6> bytes{};
    [[nodiscard]] std::string to_string() const;
    // Random, unicast, locally administered.
    [[nodiscard]] static Result<MacAddr> random();
    auto operator<=>(const MacAddr&) const = default;
};

enum class DeviceMode : std::uint8_t { netkit, netkit_l2, veth };
[[nodiscard]] std::string_view to_string(DeviceMode mode);
[[nodiscard]] Result<DeviceMode> parse_device_mode(std::string_view text);
// The kind of device that both ends are; else they are veth.
[[nodiscard]] constexpr bool is_netkit(DeviceMode mode) {
    return mode != DeviceMode::veth;
}
// Whether the ends have Ethernet addresses: then a packet needs to know that of the other end.
[[nodiscard]] constexpr bool has_link_addresses(DeviceMode mode) {
    return mode != DeviceMode::netkit;
}

// `lo` in every netns (LOOPBACK_IFINDEX in include/net/flow.h).
inline constexpr std::uint32_t kLoopbackIfindex = 1;

// IFLA_GROUP of the host's end of every pair ("nk"), there from its birth: what a kill leaves behind is known by it.
inline constexpr std::uint32_t kDeviceGroup = 0x6e6b;
// Of the host's device for its containers, and of the other end of that pair.
inline constexpr std::string_view kHostDeviceName = "netkitd0";
inline constexpr std::string_view kHostDevicePeerName = "netkitd0-peer";

struct PairSpec {
    DeviceMode mode{};
    std::string host_name;
    std::string host_alias;  // IFLA_IFALIAS, cut to IFALIASZ
    int peer_netns = -1;     // the container's netns; the peer is born there, under its final name
    std::string peer_name;
    std::uint32_t mtu = 0;
    bool is_barred = false;   // both ends are ours: of netkit, without a program nothing passes either way
    SegmentSizes sizes = {};  // of both ends
};

struct Pair {
    std::uint32_t host_ifindex = 0;
    std::uint32_t peer_ifindex = 0;  // in the container's netns
    MacAddr host_mac;                // zero in L3 netkit mode
    MacAddr peer_mac;
    std::vector<std::string> left_out;  // attributes this kernel does not know, in words
};

// Both ends down; addr_gen_mode none on both; netkit with primary policy forward, peer policy blackhole, primary scrub
// none, peer scrub default. `container` is a socket inside the container's netns.
[[nodiscard]] Result<Pair> create_pair(Netlink& host, Netlink& container, const PairSpec& spec);
// Removing one end removes both. A device that is already gone is not an error.
[[nodiscard]] Result<void> remove_device(Netlink& host, std::uint32_t ifindex);

struct Device {
    std::uint32_t ifindex = 0;
    std::string name;
    std::string alias;
    std::string kind;  // IFLA_INFO_KIND: "netkit", "veth", empty for hardware
    std::uint32_t group = 0;
    std::uint32_t mtu = 0;
    std::uint16_t hardware_type = 0;  // ARPHRD_*
    std::uint32_t lower = 0;          // what a VLAN, a macvlan, a tunnel stands on in the same netns, or 0
    std::uint32_t master = 0;         // the bond or bridge that it is a part of, or 0
    bool up = false;
    MacAddr mac;  // zero where it has none of six bytes
    SegmentSizes sizes;
    std::uint32_t tso_max_size = kLegacySegmentSize;  // how large `sizes` may be for what it sends

    // One end of two, the other of which most often is a container's.
    [[nodiscard]] bool is_of_pair() const { return kind == "netkit" || kind == "veth"; }
    // Either end of netkitd0's pair (host_device.h).
    [[nodiscard]] bool is_of_host_device() const {
        return group == kDeviceGroup && is_of_pair() && (name == kHostDeviceName || name == kHostDevicePeerName);
    }
    // The host's end of a container's pair.
    [[nodiscard]] bool is_host_end() const { return group == kDeviceGroup && is_of_pair() && !is_of_host_device(); }
};
[[nodiscard]] Result<std::vector<Device>> list_devices(Netlink& netlink);
[[nodiscard]] Result<std::optional<Device>> find_device(Netlink& netlink, const std::string& name);

// Of a device of the calling thread's netns; empty where there is none (any more).
[[nodiscard]] std::string device_name(std::uint32_t ifindex);

// Whether this kernel can make netkit devices; asked of the kernel by trying, nothing is left behind.
[[nodiscard]] Result<bool> netkit_supported();

}  // namespace netkitd::link
