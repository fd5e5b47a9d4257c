#include "datapath/upgrade.h"

#include <bpf/libbpf.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <ranges>
#include <span>
#include <string>
#include <utility>

#include "abi.h"
#include "base/log.h"
#include "datapath/flow_capacity.h"
#include "datapath/flow_takeover.h"
#include "datapath/map_entries.h"

namespace netkitd::datapath {
namespace {

using std::chrono::nanoseconds;

// Of the others, but for flows, nothing is taken over: counts, and what programs remember for seconds.
constexpr auto kCopied =
    std::to_array<std::string_view>({"endpoints4", "endpoints6", "non_masquerade4", "non_masquerade6"});

// Of these the programs that were there go on making entries. The first version had flows without a reply in tables of
// their own.
struct FlowTable {
    std::string_view name;
    IpFamily family;
    FormerFlows::Kind kind_in_first;
};
constexpr auto kFlows =
    std::to_array<FlowTable>({{"flows4", IpFamily::v4, FormerFlows::Kind::flows_with_a_reply},
                              {"flows6", IpFamily::v6, FormerFlows::Kind::flows_with_a_reply},
                              {"flows4_new", IpFamily::v4, FormerFlows::Kind::flows_without_a_reply},
                              {"flows6_new", IpFamily::v6, FormerFlows::Kind::flows_without_a_reply}});
// It is made anew with the flows.
constexpr const char* kFlowCounts = "flow_counts";

bool is_taken_over(std::string_view map) {
    return std::ranges::contains(kCopied, map) || std::ranges::contains(kFlows, map, &FlowTable::name);
}

// What the kernel has of its own for each entry of a hash map (struct htab_elem, kernel/bpf/hashtab.c), and its bucket.
constexpr std::uint64_t kOverheadBytes = 64;
// What must be left over, where as much is wanted.
constexpr std::uint64_t kReserveBytes = 64ULL << 20;

nanoseconds now() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return std::chrono::seconds(time.tv_sec) + nanoseconds(time.tv_nsec);
}

// A layout that grew at its end is converted like this; what the former had no room for is zero.
Result<void> copy_map(int former, const bpf_map_info& info, const bpf_map& map) {
    if (info.key_size != bpf_map__key_size(&map)) {
        return fail(ErrorKind::internal, "take over map {}: its keys have another size", info.name);
    }
    return for_each_entry(
        former, info, [&](std::span<const std::byte> key, std::span<const std::byte> value) -> Result<void> {
            std::vector<std::byte> converted(value.begin(), value.end());
            converted.resize(bpf_map__value_size(&map));
            if (bpf_map_update_elem(bpf_map__fd(&map), key.data(), converted.data(), BPF_NOEXIST) != 0 &&
                errno != EEXIST) {
                return fail_errno(errno, "take over an entry of map {}", bpf_map__name(&map));
            }
            return {};
        });
}

std::uint64_t table_bytes(const bpf_map& map, std::uint32_t entries) {
    constexpr std::uint64_t kAligned = 8;
    const std::uint64_t content = bpf_map__key_size(&map) + bpf_map__value_size(&map) + kAligned;
    return std::uint64_t{entries} * (content + kOverheadBytes);
}

const bpf_map* find_map(const netkitd_bpf& skeleton, const std::string& name) {
    return bpf_object__find_map_by_name(skeleton.obj, name.c_str());
}

NewFlows new_flows(const netkitd_bpf& skeleton, IpFamily family) {
    return {.map = bpf_map__fd(family == IpFamily::v4 ? skeleton.maps.flows4 : skeleton.maps.flows6),
            .insert_program = bpf_program__fd(skeleton.progs.insert_flows)};
}

void say_no_room(std::uint64_t flows) {
    if (flows > 0) {
        log(LogLevel::warning,
            "the flow tables had no room for {} entries of the version before: their flows begin anew", flows);
    }
}

}  // namespace

Result<Upgrade::FormerMap> Upgrade::open(const Pins& pins, const PinName& pin) {
    FormerMap former{.pin = pin, .fd = UniqueFd(bpf_obj_get(pins.map(pin).c_str())), .info = {}};
    std::uint32_t size = sizeof(former.info);
    if (!former.fd || bpf_map_get_info_by_fd(former.fd.get(), &former.info, &size) != 0) {
        return fail_errno(errno, "open {}", pins.map(pin));
    }
    return former;
}

Result<Upgrade> Upgrade::look(const Pins& pins) {
    Upgrade upgrade;
    upgrade.copied_at_ = NK_TRY(pins.copied_at());
    for (const PinName& pin : NK_TRY(pins.older_maps())) {
        upgrade.former_.push_back(NK_TRY(open(pins, pin)));
    }
    std::ranges::sort(upgrade.former_, std::ranges::greater(), [](const FormerMap& map) { return map.pin.version; });
    const auto is_not_ours = [&](const FormerMap& former) {
        return is_taken_over(former.pin.map) && layout_version(former.pin.map) && !pins.has_map(former.pin.map);
    };
    // Cut short at its end, or one of another version, to a layout between the former one and this: all of it is to be
    // done again.
    if (!upgrade.pending() || std::ranges::any_of(upgrade.former_, is_not_ours)) {
        upgrade.between_copied_at_ = std::exchange(upgrade.copied_at_, std::nullopt);
        NK_TRY(pins.forget_copied());
    }
    if (!upgrade.copied_at_) {
        NK_TRY(upgrade.unpin_new_maps(pins));
    }
    return upgrade;
}

Result<void> Upgrade::unpin_new_maps(const Pins& pins) const {
    for (const FormerMap& former : former_) {
        const bool is_flows = std::ranges::contains(kFlows, former.pin.map, &FlowTable::name);
        const std::string map = is_flows ? kFlowCounts : former.pin.map;
        for (const std::string& name : {former.pin.map, map}) {
            if (const auto version = layout_version(name)) {
                NK_TRY(pins.unpin_map({.map = name, .version = *version}));
            }
        }
    }
    return {};
}

std::optional<std::uint32_t> Upgrade::former_capacity(std::string_view map) const {
    const auto found = std::ranges::find(former_, map, [](const FormerMap& former) { return former.pin.map; });
    return found == former_.end() ? std::nullopt : std::optional(found->info.max_entries);
}

Result<void> Upgrade::ask_for_memory(const netkitd_bpf& skeleton) const {
    std::uint64_t wanted = 0;
    for (const FormerMap& former : former_) {
        if (const bpf_map* const map = find_map(skeleton, former.pin.map); map && !copied_at_) {
            wanted += table_bytes(*map, former.info.max_entries);
        }
    }
    const std::uint64_t available = available_memory_bytes();
    wanted += std::min(wanted, kReserveBytes);
    if (available < wanted) {
        return fail(
            ErrorKind::exhausted,
            "the upgrade from the version before needs {} MiB of memory for a moment, and this host has {} MiB: "
            "free some; until then containers go on with that version's programs",
            wanted >> 20, available >> 20);
    }
    return {};
}

Result<void> Upgrade::copy(const netkitd_bpf& skeleton, const Pins& pins) {
    if (!pending() || copied_at_) {
        return {};
    }
    const nanoseconds begin = now();
    for (const FormerMap& former : former_) {
        const bpf_map* const map = find_map(skeleton, former.pin.map);
        if (map && std::ranges::contains(kCopied, former.pin.map) && is_newest(former, former.pin.map)) {
            NK_TRY(copy_map(former.fd.get(), former.info, *map));
        }
    }
    NK_TRY(copy_flows(skeleton));
    if (between_copied_at_) {
        NK_TRY(take_over_touched(skeleton, *between_copied_at_));
    }
    NK_TRY(pins.note_copied(begin));
    copied_at_ = begin;
    has_copied_ = true;
    return {};
}

// Where a version between has copied to a layout of its own, that one has it, but for what take_over_touched() takes.
bool Upgrade::is_newest(const FormerMap& former, std::string_view map) const {
    const auto first = std::ranges::find(former_, map, [](const FormerMap& other) { return other.pin.map; });
    return first == former_.end() || first->pin.version == former.pin.version;
}

Result<std::uint64_t> Upgrade::take_over(const netkitd_bpf& skeleton, const FormerMap& former,
                                         nanoseconds since) const {
    const auto* const table = std::ranges::find(kFlows, former.pin.map, &FlowTable::name);
    const FormerFlows flows{.map = former.fd.get(),
                            .info = former.info,
                            .kind = former.pin.version == 1 ? table->kind_in_first : FormerFlows::Kind::any_flows};
    return take_over_flows(table->family, flows, new_flows(skeleton, table->family), since);
}

Result<void> Upgrade::copy_flows(const netkitd_bpf& skeleton) const {
    std::uint64_t no_room = 0;
    // Those that had a reply first: where there is no room for all, others begin anew.
    for (const FlowTable& table : kFlows) {
        const std::string_view with_replies = table.family == IpFamily::v4 ? "flows4" : "flows6";
        for (const FormerMap& former : former_) {
            if (former.pin.map == table.name && is_newest(former, with_replies)) {
                no_room += NK_TRY(take_over(skeleton, former, {}));
            }
        }
    }
    say_no_room(no_room);
    return {};
}

Result<void> Upgrade::take_over_touched(const netkitd_bpf& skeleton, nanoseconds since) const {
    std::uint64_t no_room = 0;
    // In this order: a flow that gets its first reply meanwhile is met in one or the other.
    for (const FlowTable& table : std::views::reverse(kFlows)) {
        for (const FormerMap& former : former_) {
            if (former.pin.map == table.name) {
                no_room += NK_TRY(take_over(skeleton, former, since));
            }
        }
    }
    say_no_room(no_room);
    return {};
}

Result<void> Upgrade::finish(const netkitd_bpf& skeleton, const Pins& pins) {
    NK_TRY(take_over_touched(skeleton, copied_at_.value_or(nanoseconds())));
    for (const FormerMap& former : former_) {
        NK_TRY(pins.unpin_map(former.pin));
    }
    NK_TRY(pins.forget_copied());
    former_.clear();
    copied_at_.reset();
    return {};
}

}  // namespace netkitd::datapath
