#include "link/segment_sizes.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <array>
#include <sstream>
#include <utility>

#include "base/join.h"
#include "base/quote.h"
#include "netlink/attributes.h"
#include "netlink/request.h"

namespace netkitd::link {
namespace {

struct Field {
    const char* name;
    std::uint16_t attribute;
    std::uint32_t SegmentSizes::* value;
};
constexpr std::array<Field, 4> kFields{{{"gso_max_size", IFLA_GSO_MAX_SIZE, &SegmentSizes::gso},
                                        {"gro_max_size", IFLA_GRO_MAX_SIZE, &SegmentSizes::gro},
                                        {"gso_ipv4_max_size", IFLA_GSO_IPV4_MAX_SIZE, &SegmentSizes::gso_ipv4},
                                        {"gro_ipv4_max_size", IFLA_GRO_IPV4_MAX_SIZE, &SegmentSizes::gro_ipv4}}};

// A device that went meanwhile is no error.
Result<void> unless_gone(Result<void> found) {
    return !found && found.error().system_error() == ENODEV ? Result<void>() : found;
}

}  // namespace

std::string SegmentSizes::to_string() const {
    const auto describe = [this](const Field& field) { return formatted("{} {}", field.name, this->*field.value); };
    return join(kFields, describe, " ");
}

Result<SegmentSizes> SegmentSizes::parse(const std::string& text) {
    SegmentSizes sizes;
    std::istringstream words(text);
    for (const Field& field : kFields) {
        std::string name;
        if (!(words >> name >> sizes.*field.value) || name != field.name) {
            return fail(ErrorKind::internal, "{} are not the sizes of a device", quote(text));
        }
    }
    return sizes;
}

SegmentSizes read_segment_sizes(const NetlinkAttributes& attributes) {
    SegmentSizes sizes;
    for (const Field& field : kFields) {
        sizes.*field.value = attributes.u32(field.attribute).value_or(kLegacySegmentSize);
    }
    return sizes;
}

void put_segment_sizes(NetlinkRequest& request, const SegmentSizes& sizes) {
    for (const Field& field : kFields) {
        request.put_u32(field.attribute, sizes.*field.value);
    }
}

Result<void> set_segment_sizes(Netlink& netlink, std::uint32_t ifindex, const SegmentSizes& sizes) {
    NetlinkRequest request(RTM_SETLINK, 0, formatted("set device {} to {}", ifindex, sizes.to_string()));
    request.put_struct(device_message(ifindex));
    put_segment_sizes(request, sizes);
    return netlink.transact(request);
}

Result<std::optional<PeerEnd>> look_at_peer(Netlink& host, std::uint32_t host_ifindex) {
    NetlinkRequest host_end(RTM_GETLINK, 0, formatted("look up device {}", host_ifindex));
    host_end.put_struct(device_message(host_ifindex));
    std::uint32_t ifindex = 0;
    std::optional<std::uint32_t> netns;
    NK_TRY(unless_gone(host.query(host_end, [&](const nlmsghdr& message) {
        const NetlinkAttributes attributes(message, sizeof(ifinfomsg));
        ifindex = attributes.u32(IFLA_LINK).value_or(0);
        netns = attributes.u32(IFLA_LINK_NETNSID);
    })));
    if (ifindex == 0) {
        return std::nullopt;
    }
    NetlinkRequest request(RTM_GETLINK, 0, formatted("look up the other end of device {}", host_ifindex));
    request.put_struct(device_message(ifindex));
    if (netns) {
        request.put_u32(IFLA_TARGET_NETNSID, *netns);
    }
    std::optional<PeerEnd> peer;
    NK_TRY(unless_gone(host.query(request, [&](const nlmsghdr& message) {
        peer = PeerEnd{.ifindex = ifindex, .sizes = read_segment_sizes(NetlinkAttributes(message, sizeof(ifinfomsg)))};
    })));
    return peer;
}

}  // namespace netkitd::link
