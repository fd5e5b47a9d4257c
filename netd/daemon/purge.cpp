#include "daemon/purge.h"

#include <filesystem>
#include <ranges>
#include <system_error>

#include "base/join.h"
#include "base/log.h"
#include "datapath/pins.h"
#include "endpoint/recorded_networks.h"
#include "link/configure.h"
#include "link/device.h"
#include "netlink/socket.h"
#include "node/host_changes.h"
#include "store/store.h"

namespace netkitd {
namespace {

Result<void> refuse_while_attached(const std::vector<EndpointRecord>& endpoints) {
    if (endpoints.empty()) {
        return {};
    }
    const auto members = endpoints | std::views::transform(&EndpointRecord::members) | std::views::join;
    return fail(ErrorKind::refused,
                "containers are attached: {}; stop them first, or add --force and they lose their network",
                join(members, &Member::container_id));
}

// Those whose pair is still there; a record alone holds nobody back.
Result<std::vector<EndpointRecord>> living(Store& store, const std::vector<link::Device>& devices) {
    std::vector<EndpointRecord> records = NK_TRY(store.endpoints());
    std::erase_if(records, [&](const EndpointRecord& record) { return !has_pair(devices, record); });
    return records;
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
    {
        Store store =
            NK_TRY_CONTEXT("if netkitd is running, stop it first (systemctl stop netkitd.socket netkitd.service)",
                           Store::open(store_path, NK_TRY(read_boot_id()), Store::Versions::any));
        link::Netlink host = NK_TRY(link::Netlink::open());
        const auto endpoints = NK_TRY(living(store, NK_TRY(link::list_devices(host))));
        if (!options.force) {
            NK_TRY(refuse_while_attached(endpoints));
        }
        for (const link::Device& device : NK_TRY(link::list_devices(host))) {
            if (device.is_host_end()) {
                NK_TRY(link::remove_device(host, device.ifindex));
            }
        }
        // The containers are cut off: now the uplinks may lose the guard and the safety net.
        NK_TRY(datapath::Pins::remove_all(options.bpffs_path));
        for (const NetworkRecord& network : NK_TRY(store.networks())) {
            NK_TRY(link::remove_network(host, network.prefix, network.gateway));
        }
        NK_TRY(restore_host_changes(store, host));
    }
    NK_TRY(remove_state(store_path));
    log(LogLevel::info, "netkitd's devices, routes, pins and state are gone from this host");
    return {};
}

}  // namespace netkitd
