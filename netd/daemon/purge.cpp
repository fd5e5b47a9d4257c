#include "daemon/purge.h"

#include <algorithm>
#include <filesystem>
#include <ranges>
#include <system_error>

#include "base/join.h"
#include "base/log.h"
#include "config/default_prefixes.h"
#include "datapath/pins.h"
#include "endpoint/recorded_networks.h"
#include "link/configure.h"
#include "link/device.h"
#include "netlink/socket.h"
#include "node/host_changes.h"
#include "node/policy_rules.h"
#include "store/store.h"

namespace netkitd {
namespace {

// Those that no record names are of containers whose names are not known: the database is another one, or lost.
Result<void> refuse_while_attached(const std::vector<EndpointRecord>& endpoints,
                                   const std::vector<link::Device>& devices) {
    constexpr std::string_view kWayOut = "stop them first, or add --force and they lose their network";
    if (!endpoints.empty()) {
        const auto members = endpoints | std::views::transform(&EndpointRecord::members) | std::views::join;
        return fail(ErrorKind::refused,
                    "containers are attached, or processes are left in their network namespaces: {}; {}",
                    join(members, &Member::container_id), kWayOut);
    }
    auto pairs = devices | std::views::filter(&link::Device::is_host_end);
    if (!pairs.empty()) {
        return fail(ErrorKind::refused, "containers that the database does not know are attached by {}; {}",
                    join(pairs, &link::Device::name), kWayOut);
    }
    return {};
}

// Those whose pair is still there; a record alone holds nobody back.
Result<std::vector<EndpointRecord>> living(Store& store, const std::vector<link::Device>& devices) {
    std::vector<EndpointRecord> records = NK_TRY(store.endpoints());
    std::erase_if(records, [&](const EndpointRecord& record) { return !has_pair(devices, record); });
    return records;
}

// The database knew what there was to put back. A daemon that ran has recorded its networks at least.
Result<bool> database_is_lost(Store& store, const Options& options) {
    std::error_code error;
    return NK_TRY(store.networks()).empty() && std::filesystem::exists(options.bpffs_path, error);
}

struct State {
    Store store;
    bool lost = false;           // it does not know what there is to be put back
    bool may_be_removed = true;  // what is damaged may be anybody's
};

Result<Store> with_tables(Store store) {
    NK_TRY(store.endpoints());
    NK_TRY(store.networks());
    NK_TRY(store.host_changes());
    return store;
}

// Where the database is damaged, or a newer version's whose tables have other names, an empty one takes its place.
Result<State> open_state(const Options& options, const std::string& path) {
    const std::string boot_id = NK_TRY(read_boot_id());
    Result<Store> store = Store::look_at(path, boot_id, Store::Versions::any).and_then(with_tables);
    if (store) {
        const bool lost = NK_TRY(database_is_lost(*store, options));
        return State{.store = std::move(*store), .lost = lost};
    }
    const ErrorKind kind = store.error().kind();
    if (kind != ErrorKind::invalid && kind != ErrorKind::not_found) {
        return std::unexpected(std::move(store).error().context(
            "if netkitd is running, stop it first (systemctl stop netkitd.socket netkitd.service)"));
    }
    log(LogLevel::warning, "{}", store.error().message());
    return State{.store = NK_TRY(Store::look_at(":memory:", boot_id)),
                 .lost = true,
                 .may_be_removed = kind == ErrorKind::not_found};
}

// Where nothing is recorded: those that are configured, and those that `default` may have had.
std::vector<NetworkRecord> likely_networks(const Config& config) {
    std::vector<NetworkRecord> networks;
    const auto add = [&](const IpPrefix& prefix) {
        networks.push_back({.prefix = prefix, .gateway = gateway_of(prefix)});
    };
    for (const NetworkConfig& network : config.networks) {
        std::ranges::for_each(network.prefixes(), add);
    }
    for (const auto& candidates : {kDefaultPrefixes4, kDefaultPrefixes6}) {
        for (const std::string_view candidate : candidates) {
            add(*IpPrefix::parse(candidate));
        }
    }
    return networks;
}

Result<void> remove_networks(Store& store, const Config& config, link::Netlink& host) {
    const std::vector<NetworkRecord> recorded = NK_TRY(store.networks());
    for (const NetworkRecord& network : recorded.empty() ? likely_networks(config) : recorded) {
        NK_TRY(link::remove_network(host, network.prefix, network.gateway));
    }
    return {};
}

Result<void> remove_state(const std::string& path) {
    for (const char* suffix : {"", "-wal", "-shm"}) {
        std::error_code error;
        std::filesystem::remove(path + suffix, error);
        if (error) {
            return fail_errno(error.value(), "remove {}{}", path, suffix);
        }
    }
    return {};
}

}  // namespace

Result<void> purge(const Options& options, const Config& config) {
    const std::string store_path = options.store_path.value_or(config.store);
    bool lost = false;
    bool may_be_removed = false;
    {
        State state = NK_TRY(open_state(options, store_path));
        lost = state.lost;
        may_be_removed = state.may_be_removed;
        link::Netlink host = NK_TRY(link::Netlink::open());
        const std::vector<link::Device> devices = NK_TRY(link::list_devices(host));
        if (!options.force) {
            NK_TRY(refuse_while_attached(NK_TRY(living(state.store, devices)), devices));
        }
        NK_TRY(state.store.keep());
        for (const link::Device& device : devices) {
            if (device.is_host_end() || device.is_of_host_device()) {
                NK_TRY(link::remove_device(host, device.ifindex));
            }
        }
        // The containers are cut off: now the uplinks may lose the safety net.
        NK_TRY(datapath::Pins::remove_all(options.bpffs_path));
        NK_TRY(remove_networks(state.store, config, host));
        NK_TRY(remove_policy_rules(host));
        NK_TRY(restore_host_changes(state.store, host));
    }
    if (may_be_removed) {
        NK_TRY(remove_state(store_path));
    }
    if (lost) {
        log(LogLevel::warning,
            "{} does not say what netkitd changed of this host: its sysctls are as they were, so restart the host",
            store_path);
    }
    log(LogLevel::info, "netkitd's devices, routes, pins and state are gone from this host");
    return {};
}

}  // namespace netkitd
