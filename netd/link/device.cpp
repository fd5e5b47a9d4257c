#include "link/device.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/random.h>

#include <algorithm>
#include <array>

#include "base/quote.h"
#include "netlink/attributes.h"
#include "netlink/request.h"

namespace netkitd::link {
namespace {

// Of a pair IFLA_LINK is the other end, which is not below; in another netns, its number says nothing here.
std::uint32_t read_lower(const NetlinkAttributes& attributes, std::string_view kind) {
    const bool elsewhere = kind == "veth" || kind == "netkit" || attributes.u32(IFLA_LINK_NETNSID).has_value();
    return elsewhere ? 0 : attributes.u32(IFLA_LINK).value_or(0);
}

MacAddr read_mac(const NetlinkAttributes& attributes) {
    MacAddr mac;
    if (const auto bytes = attributes.bytes(IFLA_ADDRESS); bytes && bytes->size() == mac.bytes.size()) {
        std::ranges::copy(std::as_bytes(*bytes), std::as_writable_bytes(std::span(mac.bytes)).begin());
    }
    return mac;
}

std::optional<Device> read_device(const nlmsghdr& message) {
    const auto info = fixed_part<ifinfomsg>(message);
    if (message.nlmsg_type != RTM_NEWLINK || !info) {
        return std::nullopt;
    }
    const NetlinkAttributes attributes(message, sizeof(ifinfomsg));
    const std::string kind = attributes.nested(IFLA_LINKINFO).string(IFLA_INFO_KIND).value_or("");
    return Device{
        .ifindex = static_cast<std::uint32_t>(info->ifi_index),
        .name = attributes.string(IFLA_IFNAME).value_or(""),
        .alias = attributes.string(IFLA_IFALIAS).value_or(""),
        .kind = kind,
        .group = attributes.u32(IFLA_GROUP).value_or(0),
        .mtu = attributes.u32(IFLA_MTU).value_or(0),
        .hardware_type = info->ifi_type,
        .lower = read_lower(attributes, kind),
        .master = attributes.u32(IFLA_MASTER).value_or(0),
        .up = (info->ifi_flags & IFF_UP) != 0,
        .mac = read_mac(attributes),
        .sizes = read_segment_sizes(attributes),
        .tso_max_size = attributes.u32(IFLA_TSO_MAX_SIZE).value_or(kLegacySegmentSize),
    };
}

}  // namespace

std::string MacAddr::to_string() const {
    return formatted("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4],
                     bytes[5]);
}

Result<MacAddr> MacAddr::random() {
    MacAddr mac;
    if (::getrandom(mac.bytes.data(), mac.bytes.size(), 0) != static_cast<ssize_t>(mac.bytes.size())) {
        return fail_errno(errno, "get random bytes for a MAC address");
    }
    // IEEE 802: bit 0 of the first byte is "group", bit 1 "locally administered".
    mac.bytes[0] = static_cast<std::uint8_t>((mac.bytes[0] & 0xfcU) | 0x02U);
    return mac;
}

std::string_view to_string(DeviceMode mode) {
    switch (mode) {
        case DeviceMode::netkit:
            return "netkit";
        case DeviceMode::netkit_l2:
            return "netkit-l2";
        case DeviceMode::veth:
            return "veth";
    }
    return "unknown";
}

Result<DeviceMode> parse_device_mode(std::string_view text) {
    for (const DeviceMode mode : {DeviceMode::netkit, DeviceMode::netkit_l2, DeviceMode::veth}) {
        if (text == to_string(mode)) {
            return mode;
        }
    }
    return fail(ErrorKind::invalid, "{} is not a device mode (netkit, netkit-l2 or veth)", quote(text));
}

Result<void> remove_device(Netlink& host, std::uint32_t ifindex) {
    NetlinkRequest request(RTM_DELLINK, 0, formatted("remove device {}", ifindex));
    request.put_struct(device_message(ifindex));
    Result<void> removed = host.transact(request);
    if (!removed && removed.error().system_error() == ENODEV) {
        return {};
    }
    return removed;
}

Result<std::vector<Device>> list_devices(Netlink& netlink) {
    NetlinkRequest request(RTM_GETLINK, NLM_F_DUMP, "list devices");
    request.put_struct(ifinfomsg{}).put_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    std::vector<Device> devices;
    NK_TRY(netlink.query(request, [&](const nlmsghdr& message) {
        if (auto device = read_device(message)) {
            devices.push_back(std::move(*device));
        }
    }));
    return devices;
}

Result<std::optional<Device>> find_device(Netlink& netlink, const std::string& name) {
    if (name.empty() || name.size() >= IFNAMSIZ) {
        return std::nullopt;
    }
    NetlinkRequest request(RTM_GETLINK, 0, formatted("look up device {}", quote(name)));
    request.put_struct(ifinfomsg{}).put_string(IFLA_IFNAME, name);
    std::optional<Device> device;
    const Result<void> found = netlink.query(request, [&](const nlmsghdr& message) { device = read_device(message); });
    if (!found && found.error().system_error() != ENODEV) {
        return std::unexpected(found.error());
    }
    return device;
}

std::string device_name(std::uint32_t ifindex) {
    std::array<char, IF_NAMESIZE> name{};
    return ::if_indextoname(ifindex, name.data()) == nullptr ? "" : name.data();
}

}  // namespace netkitd::link
