#include "nat/flow_sweeper.h"

#include <algorithm>

namespace netkitd::nat {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr milliseconds kBetweenSlices = 1ms;
// Some milliseconds' work if all of them are over.
constexpr std::size_t kSlice = 4096;
constexpr double kHigh = 0.75;

// With the lifetime of what has ended as the map's fill has it.
FlowLifetimes under_pressure(const FlowLifetimes& lifetimes, const FlowMapFill& fill) {
    FlowLifetimes result = lifetimes;
    result.tcp_closed = std::chrono::floor<std::chrono::seconds>(closed_life(lifetimes, fill));
    return result;
}

// The shortest life that a flow can have, given what this half of it says.
template <typename Key>
nanoseconds earliest_end(const FlowLifetimes& lifetimes, bool established, const FlowEntry<Key>& entry) {
    const std::uint32_t flags = entry.value.flags;
    return nanoseconds(entry.value.last_seen_ns) +
           lifetime(lifetimes, flow_state(established, entry.key.proto, flags, flags), entry.key.proto);
}

template <typename Key>
nanoseconds end_of(const FlowLifetimes& lifetimes, bool established, const FlowEntry<Key>& entry,
                   const nk_flow& other) {
    const FlowState state = flow_state(established, entry.key.proto, entry.value.flags, other.flags);
    return nanoseconds(std::max(entry.value.last_seen_ns, other.last_seen_ns)) +
           lifetime(lifetimes, state, entry.key.proto);
}

}  // namespace

Result<milliseconds> FlowSweeper::step(const FlowLifetimes& lifetimes, nanoseconds now) {
    NK_TRY(measure());
    if (!walk_ && !NK_TRY(is_due(lifetimes, now))) {
        return schedule_.until_the_next_question();
    }
    if (!walk_) {
        walk_.emplace();
    }
    if (auto done = work(lifetimes, now); !done) {
        walk_.reset();
        return std::unexpected(std::move(done).error());
    }
    if (walk_->map < maps_.size()) {
        return kBetweenSlices;
    }
    schedule_.walked(now, walk_->removed, walk_->next_end, lifetimes);
    walk_.reset();
    ++walks_;
    NK_TRY(measure());
    return NK_TRY(is_due(lifetimes, now)) ? kBetweenSlices : schedule_.until_the_next_question();
}

Result<void> FlowSweeper::measure() {
    const nk_map_counts counts = NK_TRY(datapath_->flow_counts());
    const std::array<std::uint64_t, 4> entries{counts.flows4, counts.flows6, counts.flows4_new, counts.flows6_new};
    for (std::size_t i = 0; i < maps_.size(); ++i) {
        Map& map = maps_.at(i);
        const datapath::Datapath::FlowMaps maps = datapath_->flow_maps(map.family);
        map.fill = {.entries = entries.at(i),
                    .capacity = map.established ? maps.established_capacity : maps.fresh_capacity};
        if (map.fill.ratio() <= kHigh) {
            map.high_since.reset();
        } else if (!map.high_since) {
            map.high_since = std::chrono::system_clock::now();
        }
    }
    return {};
}

Result<bool> FlowSweeper::is_due(const FlowLifetimes& lifetimes, nanoseconds now) {
    SweepSchedule::Load load;
    for (const Map& map : maps_) {
        load.entries += map.fill.entries;
        if (map.established && map.fill.ratio() >= load.fullest.ratio()) {
            load.fullest = map.fill;
        }
    }
    load.promoted = NK_TRY(datapath_->counted(NK_EVENT_FLOW_ESTABLISHED));
    load.begun = load.promoted + NK_TRY(datapath_->counted(NK_EVENT_FLOW_CREATED));
    return schedule_.is_due(now, load, lifetimes);
}

// A slice: of one map, or of several that have little in them.
Result<void> FlowSweeper::work(const FlowLifetimes& lifetimes, nanoseconds now) {
    for (std::size_t looked_at = 0; looked_at < kSlice && walk_->map < maps_.size();) {
        const Map& map = maps_.at(walk_->map);
        looked_at += map.family == IpFamily::v4 ? NK_TRY(sweep_some<nk_flow4_key>(map, lifetimes, now))
                                                : NK_TRY(sweep_some<nk_flow6_key>(map, lifetimes, now));
        if (walk_->cursor.ended) {
            ++walk_->map;
            walk_->cursor = {};
        }
    }
    return {};
}

// A batch; how many entries it had.
template <typename Key>
Result<std::size_t> FlowSweeper::sweep_some(const Map& map, const FlowLifetimes& lifetimes, nanoseconds now) {
    const datapath::Datapath::FlowMaps maps = datapath_->flow_maps(map.family);
    const int fd = map.established ? maps.established : maps.fresh;
    const FlowLifetimes current = under_pressure(lifetimes, map.fill);
    const auto entries = NK_TRY(FlowWalk<Key>(fd).next(walk_->cursor));
    for (const FlowEntry<Key>& entry : entries) {
        nanoseconds end = earliest_end(current, map.established, entry);
        const auto other = end <= now ? find_other_half(fd, entry) : std::nullopt;
        if (other) {
            end = end_of(current, map.established, entry, *other);
        }
        if (end > now) {
            walk_->next_end = std::min(walk_->next_end.value_or(end), end);
        } else if (remove_flow(fd, entry, other.has_value())) {
            ++walk_->removed;
            ++removed_;
        }
    }
    return entries.size();
}

}  // namespace netkitd::nat
