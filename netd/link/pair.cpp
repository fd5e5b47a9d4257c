// create_pair. The kernel makes both ends in one request, the peer at once in the container's netns under its final
// name. What it doesn't take at creation (net/core/rtnetlink.c, rtnl_create_link: alias, IFLA_AF_SPEC) is set on the
// two ends afterwards, by ifindex, so that a device of somebody else's can never be hit.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include "base/quote.h"
#include "link/device.h"
#include "netlink/attributes.h"
#include "netlink/request.h"

namespace netkitd::link {
namespace {

Result<void> check_name(const std::string& name) {
    // dev_valid_name() in net/core/dev.c
    if (name.empty() || name.size() >= IFNAMSIZ || name == "." || name == ".." ||
        name.find_first_of("/: \t\n\v\f\r%") != std::string::npos) {
        return fail(ErrorKind::invalid,
                    "{} cannot be an interface's name (1 to 15 bytes without white space, '/', ':' and '%')",
                    quote(name));
    }
    return {};
}

Result<void> check(const PairSpec& spec) {
    NK_TRY(check_name(spec.host_name));
    return check_name(spec.peer_name);
}

std::string describe(const PairSpec& spec) {
    return formatted("create {} pair {}/{}", to_string(spec.mode), spec.host_name, spec.peer_name);
}

// With more than one queue a device, the kernel takes the others away again right after it made them (veth_init_queues
// in drivers/net/veth.c), and waits for a grace period for each end.
void put_one_queue(NetlinkRequest& request) {
    request.put_u32(IFLA_NUM_TX_QUEUES, 1).put_u32(IFLA_NUM_RX_QUEUES, 1);
}

void put_mac(NetlinkRequest& request, const MacAddr& mac) {
    request.put_bytes(IFLA_ADDRESS, std::as_bytes(std::span(mac.bytes)));
}

// The peer's own link message inside VETH_INFO_PEER or IFLA_NETKIT_PEER_INFO.
void put_peer(NetlinkRequest& request, std::uint16_t type, const PairSpec& spec, const Pair& pair) {
    const auto nest = request.start_nest(type);
    request.put_struct(ifinfomsg{})
        .put_string(IFLA_IFNAME, spec.peer_name)
        .put_u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(spec.peer_netns))
        .put_u32(IFLA_MTU, spec.mtu);
    if (spec.is_barred) {
        request.put_u32(IFLA_GROUP, kDeviceGroup);
    }
    put_segment_sizes(request, spec.sizes);
    if (spec.mode == DeviceMode::veth) {
        put_one_queue(request);
    }
    if (has_link_addresses(spec.mode)) {
        put_mac(request, pair.peer_mac);
    }
    request.end_nest(nest);
}

void put_netkit(NetlinkRequest& request, const PairSpec& spec, const Pair& pair) {
    request.put_u32(IFLA_NETKIT_MODE, has_link_addresses(spec.mode) ? NETKIT_L2 : NETKIT_L3)
        .put_u32(IFLA_NETKIT_POLICY, spec.is_barred ? NETKIT_DROP : NETKIT_PASS)
        .put_u32(IFLA_NETKIT_PEER_POLICY, NETKIT_DROP)
        .put_u32(IFLA_NETKIT_SCRUB, NETKIT_SCRUB_NONE)
        .put_u32(IFLA_NETKIT_PEER_SCRUB, NETKIT_SCRUB_DEFAULT);
    put_peer(request, IFLA_NETKIT_PEER_INFO, spec, pair);
}

NetlinkRequest creation(const PairSpec& spec, const Pair& pair) {
    NetlinkRequest request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, describe(spec));
    request.put_struct(ifinfomsg{})
        .put_string(IFLA_IFNAME, spec.host_name)
        .put_u32(IFLA_GROUP, kDeviceGroup)
        .put_u32(IFLA_MTU, spec.mtu);
    put_segment_sizes(request, spec.sizes);
    if (spec.mode == DeviceMode::veth) {
        put_one_queue(request);
    }
    if (has_link_addresses(spec.mode)) {
        put_mac(request, pair.host_mac);
    }
    const auto link_info = request.start_nest(IFLA_LINKINFO);
    request.put_string(IFLA_INFO_KIND, is_netkit(spec.mode) ? "netkit" : "veth");
    const auto data = request.start_nest(IFLA_INFO_DATA);
    if (is_netkit(spec.mode)) {
        put_netkit(request, spec, pair);
    } else {
        put_peer(request, VETH_INFO_PEER, spec, pair);
    }
    request.end_nest(data);
    request.end_nest(link_info);
    return request;
}

// A look-up that fails must not hide the error that it was to explain.
std::optional<Device> find_if_possible(Netlink& netlink, const std::string& name) {
    return find_device(netlink, name).value_or(std::nullopt);
}

// EEXIST does not say which of the two names is taken.
Error explain_name_taken(Netlink& host, Netlink& container, const PairSpec& spec, Error error) {
    if (find_if_possible(container, spec.peer_name)) {
        return {ErrorKind::refused,
                formatted("the container already has an interface {}: start it with `--network none`, or choose "
                          "another name with the annotation io.netkitd.interface",
                          spec.peer_name),
                EEXIST};
    }
    if (const std::optional<Device> taken = find_if_possible(host, spec.host_name)) {
        return {ErrorKind::internal,
                formatted("{}; this node already has a {} device {}, alias {}", error.message(),
                          taken->kind.empty() ? "hardware" : taken->kind, spec.host_name, quote(taken->alias)),
                EEXIST};
    }
    return error;
}

// Indexes, and what the kernel took: attributes of IFLA_INFO_DATA that it does not know it ignores without a word.
Result<void> read_back(Netlink& host, const PairSpec& spec, Pair& pair) {
    NetlinkRequest request(RTM_GETLINK, 0, formatted("read back {}", spec.host_name));
    request.put_struct(ifinfomsg{}).put_string(IFLA_IFNAME, spec.host_name);
    return host.query(request, [&](const nlmsghdr& message) {
        const auto info = fixed_part<ifinfomsg>(message);
        if (!info) {
            return;
        }
        const NetlinkAttributes attributes(message, sizeof(ifinfomsg));
        pair.host_ifindex = static_cast<std::uint32_t>(info->ifi_index);
        pair.peer_ifindex = attributes.u32(IFLA_LINK).value_or(0);
        const NetlinkAttributes data = attributes.nested(IFLA_LINKINFO).nested(IFLA_INFO_DATA);
        if (is_netkit(spec.mode) && !data.u32(IFLA_NETKIT_SCRUB)) {
            pair.left_out.emplace_back("scrub (needs Linux 6.13, or Debian's 6.12)");
        }
    });
}

// No fe80:: address when the link comes up: nobody needs it, and its MLD and RS would look spoofed.
Result<void> disable_address_generation(Netlink& netlink, std::uint32_t ifindex) {
    NetlinkRequest request(RTM_SETLINK, 0, formatted("set addr_gen_mode none on device {}", ifindex));
    request.put_struct(device_message(ifindex));
    const auto af_spec = request.start_nest(IFLA_AF_SPEC);
    const auto inet6 = request.start_nest(AF_INET6);
    request.put_u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    request.end_nest(inet6);
    request.end_nest(af_spec);
    Result<void> set = netlink.transact(request);
    // The device has no IPv6 at all (ipv6.disable=1, or an MTU below 1280).
    if (!set && set.error().system_error() == EAFNOSUPPORT) {
        return {};
    }
    return set;
}

Result<void> set_alias(Netlink& host, std::uint32_t ifindex, std::string_view alias) {
    NetlinkRequest request(RTM_SETLINK, 0, formatted("set the alias of device {}", ifindex));
    request.put_struct(device_message(ifindex));
    // IFALIASZ counts the terminating zero.
    request.put_bytes(IFLA_IFALIAS, std::as_bytes(std::span(alias.substr(0, IFALIASZ - 1))));
    return host.transact(request);
}

Result<void> complete(Netlink& host, Netlink& container, const PairSpec& spec, const Pair& pair) {
    if (pair.host_ifindex == 0 || pair.peer_ifindex == 0) {
        return fail(ErrorKind::internal, "the kernel does not tell the ends' interface indexes");
    }
    NK_TRY(set_alias(host, pair.host_ifindex, spec.host_alias));
    NK_TRY(disable_address_generation(host, pair.host_ifindex));
    return disable_address_generation(container, pair.peer_ifindex);
}

}  // namespace

Result<Pair> create_pair(Netlink& host, Netlink& container, const PairSpec& spec) {
    NK_TRY(check(spec));
    Pair pair;
    if (has_link_addresses(spec.mode)) {
        // Explicit, because systemd's MACAddressPolicy=persistent rewrites what the kernel chose (systemd.link(5)).
        pair.host_mac = NK_TRY(MacAddr::random());
        pair.peer_mac = NK_TRY(MacAddr::random());
    }
    NetlinkRequest request = creation(spec, pair);
    if (Result<void> created = host.transact(request); !created) {
        Error error = std::move(created).error();
        return std::unexpected(error.system_error() == EEXIST
                                   ? explain_name_taken(host, container, spec, std::move(error))
                                   : std::move(error));
    }
    Result<void> completed =
        read_back(host, spec, pair).and_then([&] { return complete(host, container, spec, pair); });
    if (!completed) {
        NetlinkRequest removal(RTM_DELLINK, 0, formatted("remove {} again", spec.host_name));
        removal.put_struct(ifinfomsg{}).put_string(IFLA_IFNAME, spec.host_name);
        Error error = std::move(completed).error().context(describe(spec));
        if (const Result<void> removed = host.transact(removal); !removed) {
            return fail(error.kind(), "{}; {}", error.message(), removed.error().message());
        }
        return std::unexpected(std::move(error));
    }
    return pair;
}

}  // namespace netkitd::link
