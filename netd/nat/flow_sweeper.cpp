#include "nat/flow_sweeper.h"

#include <netinet/in.h>

#include <algorithm>
#include <map>
#include <type_traits>

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

nk_addr as_nk_addr(__be32 address) {
    return {.word = {address, 0, 0, 0}};
}

nk_addr as_nk_addr(const nk_addr& address) {
    return address;
}

template <typename Key>
nk_socket_question question_about(const FlowEntry<Key>& entry, std::optional<std::uint32_t> netns_id) {
    constexpr bool kV6 = std::is_same_v<Key, nk_flow6_key>;
    const bool forward = entry.key.direction == NK_FLOW_FORWARD;
    return {.container = forward ? as_nk_addr(entry.key.saddr) : entry.value.addr,
            .remote = as_nk_addr(forward ? entry.key.daddr : entry.key.saddr),
            .container_port = forward ? entry.key.sport : entry.value.port,
            .remote_port = forward ? entry.key.dport : entry.key.sport,
            .netns_id = netns_id.value_or(0),
            .family = kV6 ? AF_INET6 : AF_INET,
            // Where nobody is known who could be asked, the answer is no.
            .proto = netns_id ? entry.key.proto : std::uint8_t{0},
            .answer = 0,
            .reserved = 0};
}

}  // namespace

bool FlowSweeper::has_owner_ended() {
    const std::uint64_t now = owners_.ended();
    return std::exchange(ended_, now) != now;
}

template <typename Key>
nanoseconds FlowSweeper::life(const FlowLifetimes& lifetimes, FlowState state, const FlowEntry<Key>& entry) const {
    // Two maximum segment lifetimes (RFC 9293, 3.6.1).
    constexpr nanoseconds kOwnerlessTcp = 240s;
    const nanoseconds life = lifetime(lifetimes, state, entry.key.proto);
    if (owners_.has(entry.value.endpoint_id)) {
        return life;
    }
    return entry.key.proto == IPPROTO_TCP ? std::min(life, kOwnerlessTcp) : nanoseconds(0);
}

// The earliest that a flow can be over, given what this half of it says.
template <typename Key>
nanoseconds FlowSweeper::earliest_end(const FlowLifetimes& lifetimes, bool established,
                                      const FlowEntry<Key>& entry) const {
    const std::uint32_t flags = entry.value.flags;
    return nanoseconds(entry.value.last_seen_ns) +
           life(lifetimes, flow_state(established, entry.key.proto, flags, flags), entry);
}

// A flow lives by what its container sends: anybody outside can send what looks like an answer (RFC 4787, REQ-6).
template <typename Key>
nanoseconds FlowSweeper::end_of(const FlowLifetimes& lifetimes, bool established, const FlowEntry<Key>& entry,
                                const nk_flow& other) const {
    const FlowState state = flow_state(established, entry.key.proto, entry.value.flags, other.flags);
    const nk_flow& forward = entry.key.direction == NK_FLOW_FORWARD ? entry.value : other;
    return nanoseconds(forward.last_seen_ns) + life(lifetimes, state, entry);
}

Result<milliseconds> FlowSweeper::step(const FlowLifetimes& lifetimes, nanoseconds now) {
    NK_TRY(measure());
    if (!walk_) {
        const bool due = NK_TRY(is_due(lifetimes, now));
        if (!has_owner_ended() && !due) {
            return schedule_.until_the_next_question();
        }
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

// Takes those out whose connection a socket of their container has.
template <typename Key>
Result<void> FlowSweeper::spare_connected(std::vector<EndedFlow<Key>>& ended) const {
    // Asked for once a batch.
    std::map<std::uint32_t, std::optional<std::uint32_t>> netns_ids;
    std::vector<nk_socket_question> questions;
    for (const auto& [entry, has_other_half] : ended) {
        const auto [place, is_new] = netns_ids.try_emplace(entry.value.endpoint_id);
        if (is_new && owners_.has(entry.value.endpoint_id)) {
            place->second = owners_.netns_id(entry.value.endpoint_id);
        }
        questions.push_back(question_about(entry, place->second));
    }
    NK_TRY(datapath_->ask_owner_sockets(questions));
    std::size_t index = 0;
    std::erase_if(ended, [&](const EndedFlow<Key>&) { return questions[index++].answer != 0; });
    return {};
}

// A batch; how many entries it had.
template <typename Key>
Result<std::size_t> FlowSweeper::sweep_some(const Map& map, const FlowLifetimes& lifetimes, nanoseconds now) {
    const datapath::Datapath::FlowMaps maps = datapath_->flow_maps(map.family);
    const int fd = map.established ? maps.established : maps.fresh;
    const FlowLifetimes current = under_pressure(lifetimes, map.fill);
    const auto entries = NK_TRY(FlowWalk<Key>(fd).next(walk_->cursor));
    std::vector<EndedFlow<Key>> ended;
    for (const FlowEntry<Key>& entry : entries) {
        nanoseconds end = earliest_end(current, map.established, entry);
        const auto other = end <= now ? find_other_half(fd, entry) : std::nullopt;
        if (other) {
            end = end_of(current, map.established, entry, *other);
        }
        if (end > now) {
            walk_->next_end = std::min(walk_->next_end.value_or(end), end);
        } else {
            ended.push_back({.entry = entry, .has_other_half = other.has_value()});
        }
    }
    NK_TRY(spare_connected(ended));
    for (const EndedFlow<Key>& flow : ended) {
        if (remove_flow(fd, flow.entry, flow.has_other_half)) {
            ++walk_->removed;
            ++removed_;
        }
    }
    return entries.size();
}

}  // namespace netkitd::nat
