#include "node/node_network.h"

#include <algorithm>

#include "base/log.h"
#include "node/network_routes.h"
#include "node/policy_rules.h"

namespace netkitd {
namespace {

Result<std::vector<link::HostPrefix>> list_host_prefixes(link::Netlink& host, Store& store, const Config& config) {
    return link::list_host_prefixes(host, gateways(config, NK_TRY(store.networks())));
}

std::uint32_t largest_mtu(const Config& config, std::uint32_t uplink_mtu) {
    std::uint32_t largest = 0;
    for (const NetworkConfig& network : config.networks) {
        largest = std::max(largest, network.mtu.value_or(uplink_mtu));
    }
    return largest;
}

}  // namespace

NodeNetwork::NodeNetwork(link::Netlink& host, datapath::Datapath& datapath, Store& store)
    : host_(host),
      store_(store),
      sources_(host),
      uplinks_(host, datapath),
      host_device_(host, datapath),
      settings_(host, datapath),
      ipv6_(host, store),
      ports_(store),
      big_tcp_(host, store) {}

Result<Config> settle(link::Netlink& host, Store& store, Config config) {
    const auto prefixes = NK_TRY(list_host_prefixes(host, store, config));
    Config settled = NK_TRY(settle_prefixes(std::move(config), prefixes, NK_TRY(store.endpoints())));
    const PortRange wanted = settled.masquerade_ports;
    settled.masquerade_ports =
        NK_TRY(settle_port_pool(wanted, settled.any_masquerade_ports, NK_TRY(PortReservation(store).host_ports())));
    if (settled.masquerade_ports != wanted) {
        log(LogLevel::notice,
            "masquerade takes the ports {}-{} only: the host needs the others for its own connections",
            settled.masquerade_ports.first, settled.masquerade_ports.last);
    }
    return settled;
}

Result<void> NodeNetwork::sync(const Config& config) {
    const auto host = NK_TRY(list_host_prefixes(host_, store_, config));
    overlaps_ = find_overlaps(config, host);
    host_prefixes_ = within_networks(config, host);
    gateways_of_links_ = gateways_on_links(config, host);
    known_host_prefixes_ = first_of_each_family(host_prefixes_, NK_MAX_HOST_PREFIXES);
    NK_TRY(sources_.sync(config));
    NK_TRY(uplinks_.discover(config.uplinks));
    NK_TRY(big_tcp_.sync(config.big_tcp, link::ways_out(uplinks_.all())));
    host_mtu_ = largest_mtu(config, uplink_mtu());
    NK_TRY(host_device_.sync(config, host_mtu_, big_tcp_.pair_sizes()));
    const auto rules = NK_TRY(link::list_policy_rules(host_));
    settings_.heed(rules);
    NK_TRY(sync_uplinks(config));
    NK_TRY(ipv6_.sync(config, uplinks_.all()));
    NK_TRY(HostDevice::turn_on_forwarding(has_ipv6(config) && no_ipv6().empty()));
    NK_TRY(sync_network_routes(host_, store_, host_device(), config, gateways_of_links_, no_ipv6().empty()));
    NK_TRY(sync_policy_rules(host_, rules, config, host, no_ipv6().empty()));
    return ports_.sync(config.masquerade_ports);
}

Result<void> NodeNetwork::sync_uplinks(const Config& config) {
    // An uplink's programs know the networks before they see a packet: at a restart they replace programs that do, and
    // a reply that went up the host's stack for a moment would be answered with a reset. Containers send to an uplink
    // only when its programs are there.
    const auto apply = [&](const std::vector<std::uint32_t>& in_use) {
        return settings_.apply(config, host_device_.device(), sources_.missing(), known_host_prefixes_, uplinks_.all(),
                               in_use);
    };
    NK_TRY(apply(uplinks_.attached()));
    uplinks_.attach();
    NK_TRY(apply(uplinks_.usable()));
    return uplinks_.detach_former();
}

}  // namespace netkitd
