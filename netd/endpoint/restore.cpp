// EndpointManager::restore(): what the daemon takes up at its start of what an earlier one left.
#include <algorithm>
#include <ranges>
#include <set>

#include "base/log.h"
#include "endpoint/manager.h"
#include "endpoint/recorded_networks.h"

namespace netkitd {
namespace {

// An attach of a known container commits its new endpoint before the former one goes, with which it may share a static
// address. A kill in between leaves both; the last one counts. Returns the records that changed.
std::vector<const EndpointRecord*> drop_former_members(std::vector<EndpointRecord>& records) {
    std::vector<const EndpointRecord*> changed;
    std::set<std::string> seen;
    for (EndpointRecord& record : std::views::reverse(records)) {
        const auto is_former = [&](const Member& member) { return !seen.insert(member.container_id).second; };
        if (std::erase_if(record.members, is_former) > 0) {
            changed.push_back(&record);
        }
    }
    return changed;
}

}  // namespace

Result<void> EndpointManager::restore() {
    const auto devices = NK_TRY(plumbing_.host_devices());
    for (const IpAddr& address : NK_TRY(store_.freed_addresses())) {
        pools_.note_freed(address);
    }
    for (const EndpointRecord& record : NK_TRY(recorded())) {
        if (!has_pair(devices, record)) {
            log(LogLevel::info, "endpoint {} of {} ended while the daemon was not running", record.id,
                record.members.front().container_id);
            processes_.note_cut_off(record);
            NK_TRY(give_back_or_keep(record));
            continue;
        }
        const std::string what = formatted("take up endpoint {} ({})", record.id, record.host_name);
        NK_TRY_CONTEXT(what, reserve_addresses(record));
        homes_.hold(record.home, first_container(record));
        processes_.watch_members(endpoints_.put({.record = record}));
        if (const auto taken_up = take_up(record); !taken_up) {
            // Its netns may have ended since the devices were listed; else resync() tries again, and says what is
            // wrong.
            log(LogLevel::notice, "{}: {}", what, taken_up.error().message());
            to_take_up_.insert(record.id);
        }
    }
    return {};
}

// Those that have members; the others' records are removed, and their pairs by resync().
Result<std::vector<EndpointRecord>> EndpointManager::recorded() {
    std::vector<EndpointRecord> records = NK_TRY(store_.endpoints());
    for (const EndpointRecord* record : drop_former_members(records)) {
        NK_TRY(record->members.empty() ? give_back_or_keep(*record) : store_.put_endpoint(*record));
    }
    std::erase_if(records, [](const EndpointRecord& record) { return record.members.empty(); });
    return records;
}

// What one record is refused (a full disk) must not keep the others from their programs. Its addresses stay taken until
// the next start.
Result<void> EndpointManager::give_back_or_keep(const EndpointRecord& record) {
    const auto given_back = give_back_record(record);
    if (given_back) {
        return {};
    }
    log(LogLevel::error, "endpoint {} of a container that ended is kept until the next start: {}", record.id,
        given_back.error().message());
    return reserve_addresses(record);
}

Result<void> EndpointManager::give_back_record(const EndpointRecord& record) {
    const std::vector<IpAddr> addresses = record.addresses();
    NK_TRY(store_.remove_endpoint(record.id, addresses));
    for (const IpAddr& address : addresses) {
        pools_.note_freed(address);
    }
    homes_.hold(record.home, first_container(record));
    homes_.give_back(record.home);
    ++ended_;
    if (!record.published.empty()) {
        NK_TRY(plumbing_.end_frontends(frontends_of(record)));
    }
    return plumbing_.forget_drops(record.host_ifindex);
}

Result<void> EndpointManager::reserve_addresses(const EndpointRecord& record) {
    for (const IpAddr& address : record.addresses()) {
        NK_TRY(pools_.reserve(NK_TRY(find_prefix(settings_.config, record, address)), address));
    }
    return {};
}

Result<void> EndpointManager::take_up(const EndpointRecord& record) {
    NK_TRY(plumbing_.count_drops(record.host_ifindex));
    for (const datapath::EndpointEntry& entry : datapath_entries(record)) {
        NK_TRY(plumbing_.put_entry(entry));
    }
    if (!record.published.empty()) {
        NK_TRY(plumbing_.put_frontends(frontends_of(record)));
    }
    NK_TRY(plumbing_.attach_program(record.host_name, record.host_ifindex, record.device_mode));
    // At once: by the first version's routes the host's packets would go past netkitd0, from where they are answered.
    const std::vector<NarrowRoute> routes = narrow_routes_of(record, settings_);
    for (const IpAddr& address : record.addresses()) {
        NK_TRY(replace_routes(address, routes));
    }
    return plumbing_.set_host_end_up(record.host_ifindex);
}

}  // namespace netkitd
