#include "daemon/node.h"

#include <algorithm>
#include <iterator>
#include <ranges>

#include "abi.h"
#include "base/format.h"
#include "base/join.h"
#include "base/log.h"
#include "endpoint/endpoint_view.h"
#include "endpoint/recorded_networks.h"
#include "link/device.h"
#include "link/netns_processes.h"
#include "link/uplink.h"
#include "netlink/netns.h"
#include "node/host_checks.h"
#include "node/loopback_answers.h"
#include "node/port_reservation.h"

namespace netkitd {
namespace {

constexpr const char* kSettle = "fit the configuration to this host";
constexpr const char* kUplinks = "give the uplinks their programs";
constexpr std::string_view kNoNetkit = "this kernel has no netkit devices (Linux 6.8 with CONFIG_NETKIT has)";

std::string describe_gone(const std::vector<IpAddr>& addresses) {
    constexpr std::size_t kNamed = 4;
    return formatted("{}{}, which this host does not have any more",
                     join(addresses | std::views::take(kNamed), &IpAddr::to_string),
                     addresses.size() > kNamed ? formatted(" and {} more", addresses.size() - kNamed) : "");
}

}  // namespace

Result<DeviceModeDecision> decide_device_mode(const Config& config) {
    DeviceModeDecision decision;
    decision.modes.netkit_available = NK_TRY(link::netkit_supported());
    decision.configured = config.device_mode ? std::string(link::to_string(*config.device_mode)) : "auto";
    if (!config.device_mode) {
        decision.modes.active = decision.modes.netkit_available ? link::DeviceMode::netkit : link::DeviceMode::veth;
        decision.reason = decision.modes.netkit_available ? "" : formatted("fell back to veth: {}", kNoNetkit);
        return decision;
    }
    decision.modes.active = *config.device_mode;
    if (link::is_netkit(decision.modes.active) && !decision.modes.netkit_available) {
        return fail(ErrorKind::refused, "device_mode is {}, but {}: use auto or veth", decision.configured, kNoNetkit);
    }
    return decision;
}

Node::Node(link::Netlink host, Store store, datapath::Datapath datapath, DeviceModeDecision device_mode)
    : host_(std::move(host)),
      store_(std::move(store)),
      datapath_(std::move(datapath)),
      device_mode_(std::move(device_mode)),
      network_(host_, datapath_, store_),
      plumbing_(host_, datapath_,
                {.reserve_ports =
                     [this](std::set<std::uint16_t> ports) { return network_.reserve_published(std::move(ports)); },
                 .let_answers_in = [this](bool wanted) { return take_answers_of_loopback(store_, wanted); }}),
      sweeper_(datapath_, {.has = [this](std::uint32_t id) { return manager_->endpoints().contains(id); },
                           .count = [this] { return manager_->endpoints().size(); },
                           .ended = [this] { return manager_->ended(); },
                           .netns_id = [this](std::uint32_t id) { return netns_id_of(id); }}) {}

Result<std::unique_ptr<Node>> Node::start(const Options& options, Config config, ProcessWatch& watch,
                                          const std::function<Result<void>()>& before_changes) {
    NK_TRY(refuse_realtime_kernel());
    // The database first: its lock tells whether another daemon serves this node already.
    Store store = NK_TRY(Store::look_at(options.store_path.value_or(config.store), NK_TRY(read_boot_id())));
    DeviceModeDecision device_mode = NK_TRY(decide_device_mode(config));
    link::Netlink host = NK_TRY(link::Netlink::open());
    // Before anything is changed: the programs would take containers of a network that is not there for strangers, and
    // after a refusal the version before starts again over what it left.
    Config settled = NK_TRY(settle(host, store, config));
    NK_TRY(check_networks(settled, NK_TRY(store.endpoints()), NK_TRY(link::list_devices(host))));
    NK_TRY(before_changes());
    datapath::Datapath datapath = NK_TRY(datapath::Datapath::open(options.bpffs_path, device_mode.modes.active));
    if (Result<void> kept = store.keep(); !kept) {
        keep_first(kept, datapath.undo_open());
        return std::unexpected(std::move(kept).error());
    }
    std::unique_ptr<Node> node(
        new Node(std::move(host), std::move(store), std::move(datapath), std::move(device_mode)));
    node->wanted_ = std::move(config);
    NK_TRY(node->put_recorded_frontends());
    NK_TRY(node->sync_at_start(settled));
    EndpointSettings settings{.config = std::move(settled),
                              .modes = node->device_mode_.modes,
                              .uplink_mtu = node->network_.uplink_mtu(),
                              .host_mtu = node->network_.host_mtu(),
                              .host_netns_cookie = NK_TRY(link::current_netns_cookie()),
                              .no_ipv6 = node->network_.no_ipv6(),
                              .sizes = node->network_.big_tcp().pair_sizes()};
    node->manager_ = std::make_unique<EndpointManager>(std::move(settings), node->store_, node->plumbing_, watch);
    NK_TRY(node->restore_endpoints());
    node->datapath_.let_host_reach_containers();
    // Containers that run keep their addresses.
    node->manager_->set_host_prefixes(node->network_.host_prefixes());
    node->resync_endpoints();
    node->finish_upgrade();
    node->end_flows_of_former_addresses(link::own_addresses(node->host_));
    node->end_flows_outside_pool();
    return node;
}

// Before an uplink's programs are replaced: what comes to a published port, the host would answer with a reset.
Result<void> Node::put_recorded_frontends() {
    for (const EndpointRecord& record : NK_TRY(store_.endpoints())) {
        NK_TRY(plumbing_.put_frontends(frontends_of(record)));
    }
    return network_.reserve_published(datapath_.frontends().ports());
}

Result<void> Node::restore_endpoints() {
    if (!store_.is_new()) {
        return manager_->restore();
    }
    if (const std::size_t adopted = NK_TRY(manager_->adopt()); adopted > 0) {
        log(LogLevel::warning,
            "state database {} is new, but containers run: {} of them keep their network; what was changed of this "
            "host's settings before is not known any more",
            store_.path(), adopted);
    }
    NK_TRY(manager_->restore());
    // Numbers begin anew: what is left of others' flows must not pass for theirs.
    NK_TRY(flows().flush(
        {.owner = [this](std::uint32_t id) { return !nat::is_of_host(id) && !manager_->endpoints().contains(id); }}));
    return {};
}

// During an upgrade the uplinks have the new programs once they are synced, so that the containers have to get theirs
// whatever else fails: the next look mends it.
Result<void> Node::sync_at_start(const Config& config) {
    const auto synced = network_.sync(config);
    if (!synced && !datapath_.upgrading()) {
        return synced;
    }
    note_followed(synced);
    return {};
}

// What the configuration leaves open (the default network's prefix, the pool) follows the host, as far as containers
// allow; what the host has got that does not fit is named by status.
void Node::settle_anew() {
    const auto settled = settle(host_, store_, wanted_);
    if (settled && *settled == manager_->config()) {
        errors_.resolved(kSettle);
        return;
    }
    const Result<void> fitted = settled.and_then([&](const Config& config) { return manager_->reconfigure(config); });
    const auto is_known = [&](const RecentError& error) {
        return error.what == kSettle && !fitted && error.message == fitted.error().message();
    };
    if (std::ranges::none_of(errors_.list(), is_known)) {
        errors_.record(kSettle, fitted);
    }
}

void Node::note_followed(const Result<void>& followed) {
    network_is_followed_ = followed.has_value();
    errors_.record("follow the network", followed);
    errors_.record(kUplinks, network_.uplink_failure());
}

void Node::follow_network() {
    settle_anew();
    // Before the programs are told to ask for routes anew: whatever begins after that has an address that is still
    // there now.
    const auto own = link::own_addresses(host_);
    const auto followed = network_.sync(manager_->config());
    note_followed(followed);
    manager_->set_uplink_mtu(network_.uplink_mtu());
    manager_->set_host_prefixes(network_.host_prefixes());
    manager_->set_no_ipv6(network_.no_ipv6());
    if (manager_->sizes() != network_.big_tcp().pair_sizes() || manager_->host_mtu() != network_.host_mtu()) {
        manager_->set_sizes(network_.big_tcp().pair_sizes());
        manager_->set_host_mtu(network_.host_mtu());
        resync_endpoints();
    }
    end_flows_of_former_addresses(own);
    end_flows_outside_pool();
}

void Node::end_flows_outside_pool() {
    errors_.record("end the flows whose port is not of the pool", network_.end_flows_outside_pool());
}

void Node::end_flows_of_former_addresses(Result<std::vector<IpAddr>> own) {
    errors_.record("end the flows of addresses that are gone", std::move(own).and_then([&](std::vector<IpAddr> now) {
        return replace_own_addresses(std::move(now));
    }));
}

Result<void> Node::replace_own_addresses(std::vector<IpAddr> own) {
    std::vector<IpAddr> gone;
    if (own_addresses_) {
        std::ranges::set_difference(*own_addresses_, own, std::back_inserter(gone));
    }
    // What went before the first look is not known by its name.
    if (!own_addresses_ || !gone.empty()) {
        const auto is_gone = [&](const IpAddr& address) {
            if (address.is_loopback()) {
                return false;  // 127.0.0.1 stands for all of 127.0.0.0/8
            }
            return own_addresses_ ? std::ranges::binary_search(gone, address)
                                  : !std::ranges::binary_search(own, address);
        };
        if (const std::uint64_t ended = NK_TRY(flows().flush({.translated = is_gone})); ended > 0) {
            log(LogLevel::notice, "{} flows were ended, of {}", ended,
                gone.empty() ? "addresses that this host does not have any more" : describe_gone(gone));
        }
    }
    own_addresses_ = std::move(own);
    return {};
}

void Node::resync() {
    keep_database();
    errors_.record("keep the maps pinned", datapath_.put_back_pins());
    datapath_.let_host_reach_containers();
    errors_.record("let this host reach published ports", datapath_.reached_from_host());
    errors_.record("let in what containers answer this host", plumbing_.let_answers_in());
    follow_network();
    resync_endpoints();
    finish_upgrade();
}

void Node::keep_database() {
    errors_.record("keep the state database", store_.put_back());
}

void Node::finish_upgrade() {
    const bool upgrading = datapath_.upgrading();
    const auto finished = datapath_.finish_upgrade();
    errors_.record("finish the upgrade from the version before", finished);
    if (upgrading && finished) {
        log(LogLevel::notice, "what the version before had is taken over");
    }
}

void Node::resync_endpoints() {
    const auto agreed = manager_->resync();
    endpoints_agree_ = agreed.has_value();
    errors_.record("make the endpoints agree with the kernel", agreed);
}

// The kernel's number of it is asked for each time: once the netns is gone it may be another's.
std::optional<std::uint32_t> Node::netns_id_of(std::uint32_t endpoint_id) {
    const auto& endpoints = manager_->endpoints();
    const auto endpoint = endpoints.find(endpoint_id);
    return endpoint == endpoints.end()
               ? std::nullopt
               : link::peer_netns_id(host_, endpoint->second.record.host_ifindex).value_or(std::nullopt);
}

void Node::device_removed(std::uint32_t ifindex) {
    if (const auto freed = manager_->device_removed(ifindex); !freed) {
        errors_.report("make the endpoints agree with the kernel", freed.error());
    }
}

std::chrono::milliseconds Node::sweep_flows() {
    constexpr std::chrono::milliseconds kRetry{10000};
    constexpr const char* kWhat = "sweep the flows";
    refusals_.log_what_goes_on(*this, std::chrono::steady_clock::now());
    errors_.record("end what ports are held for", plumbing_.end_holds());
    const auto delay = sweeper_.step(manager_->config().lifetimes);
    if (!delay) {
        errors_.report(kWhat, delay.error());
        return kRetry;
    }
    errors_.resolved(kWhat);
    return *delay;
}

Result<void> Node::reconfigure(Config config) {
    const DeviceModeDecision decision = NK_TRY(decide_device_mode(config));
    if (decision.modes.active != device_mode_.modes.active) {
        return fail(ErrorKind::refused, "device_mode changed: restart the daemon (traffic goes on meanwhile)");
    }
    if (config.store != wanted_.store) {
        return fail(ErrorKind::refused,
                    "store changed: stop the daemon, move {} there, and start it (traffic goes on meanwhile)",
                    store_.path());
    }
    NK_TRY(manager_->reconfigure(NK_TRY(settle(host_, store_, config))));
    wanted_ = std::move(config);
    follow_network();
    return {};
}

}  // namespace netkitd
