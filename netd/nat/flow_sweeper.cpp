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

template <typename Key>
nk_socket_question question_about(const FlowEntry<Key>& entry, std::optional<std::uint32_t> netns_id) {
    constexpr bool kV6 = std::is_same_v<Key, nk_flow6_key>;
    const bool forward = entry.key.direction == NK_FLOW_FORWARD;
    const nk_flow6_key key = datapath::widen(entry.key);
    return {.container = forward ? key.saddr : entry.value.addr,
            .remote = forward ? key.daddr : key.saddr,
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
nanoseconds FlowSweeper::earliest_end(const FlowLifetimes& lifetimes, const FlowEntry<Key>& entry) const {
    const std::uint32_t flags = entry.value.flags;
    return nanoseconds(entry.value.last_seen_ns) + life(lifetimes, flow_state(entry.key.proto, flags, flags), entry);
}

// A flow lives by what its container sends: anybody outside can send what looks like an answer (RFC 4787, REQ-6).
template <typename Key>
nanoseconds FlowSweeper::end_of(const FlowLifetimes& lifetimes, const FlowEntry<Key>& entry,
                                const nk_flow& other) const {
    const FlowState state = flow_state(entry.key.proto, entry.value.flags, other.flags);
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
    const Result<void> forgotten = forget_counts();
    walk_.reset();
    ++walks_;
    NK_TRY(forgotten);
    NK_TRY(measure());
    return NK_TRY(is_due(lifetimes, now)) ? kBetweenSlices : schedule_.until_the_next_question();
}

Result<void> FlowSweeper::measure() {
    datapath_->share_flows(owners_.count());
    const nk_map_counts counts = NK_TRY(datapath_->map_counts());
    for (Map& map : maps_) {
        const datapath::FlowShares shares = datapath_->flow_shares(map.family);
        map.capacity = datapath_->flow_map(map.family).capacity;
        map.fill = {.entries = map.family == IpFamily::v4 ? counts.flows4 : counts.flows6,
                    .capacity = std::uint64_t{2} * shares.most_of_one()};
        if (map.fill.ratio() <= kHigh) {
            map.high_since.reset();
        } else if (!map.high_since) {
            map.high_since = std::chrono::system_clock::now();
        }
    }
    return {};
}

// Of endpoints that have ended, when there are no flows of them any more.
Result<void> FlowSweeper::forget_counts() const {
    for (const std::uint32_t endpoint_id : NK_TRY(datapath_->endpoints_with_flows())) {
        if (!walk_->owners.contains(endpoint_id) && !owners_.has(endpoint_id)) {
            NK_TRY(datapath_->forget_flow_count(endpoint_id));
        }
    }
    return {};
}

Result<bool> FlowSweeper::is_due(const FlowLifetimes& lifetimes, nanoseconds now) {
    SweepSchedule::Load load;
    for (const Map& map : maps_) {
        load.entries += map.fill.entries;
        if (map.fill.ratio() >= load.fullest.ratio()) {
            load.fullest = map.fill;
        }
    }
    load.begun = NK_TRY(datapath_->counted(NK_EVENT_FLOW_CREATED));
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
    for (const auto& [entry, other] : ended) {
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
    const int fd = datapath_->flow_map(map.family).fd;
    const FlowLifetimes current = under_pressure(lifetimes, map.fill);
    const auto entries = NK_TRY(FlowWalk<Key>(fd).next(walk_->cursor));
    std::vector<EndedFlow<Key>> ended;
    for (const FlowEntry<Key>& entry : entries) {
        walk_->owners.insert(entry.value.endpoint_id);
        nanoseconds end = earliest_end(current, entry);
        const auto other = end <= now ? find_other_half(fd, entry) : std::nullopt;
        if (other) {
            end = end_of(current, entry, *other);
        }
        if (end > now) {
            walk_->next_end = std::min(walk_->next_end.value_or(end), end);
        } else {
            ended.push_back({.entry = entry, .other = other});
        }
    }
    NK_TRY(spare_connected(ended));
    NK_TRY(remove(ended));
    return entries.size();
}

template <typename Key>
Result<void> FlowSweeper::remove(const std::vector<EndedFlow<Key>>& ended) {
    std::vector<nk_flow_removal> removals;
    for (const EndedFlow<Key>& flow : ended) {
        removals.push_back(removal_of(flow.entry, flow.other));
    }
    NK_TRY(datapath_->remove_flows(removals));
    const auto removed =
        static_cast<std::uint64_t>(std::ranges::count(removals, std::uint8_t{1}, &nk_flow_removal::answer));
    walk_->removed += removed;
    removed_ += removed;
    return {};
}

}  // namespace netkitd::nat
