#include "nat/flow_sweeper.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <iterator>
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
bool is_look_up(const FlowEntry<Key>& entry) {
    constexpr std::uint16_t kDomain = 53;
    const bool forward = entry.key.direction == NK_FLOW_FORWARD;
    return entry.key.proto == IPPROTO_UDP && ntohs(forward ? entry.key.dport : entry.key.sport) == kDomain;
}

// Of the host's own: as long as nftables remembers them (net/netfilter/nf_conntrack_proto_tcp.c).
template <typename Key>
nanoseconds hosts_life(const FlowLifetimes& lifetimes, FlowState state, const FlowEntry<Key>& entry) {
    constexpr nanoseconds kConnection = 432'000s;
    constexpr nanoseconds kConnecting = 120s;
    // The answer is not seen; no resolver is waited for as long.
    constexpr nanoseconds kLookUp = 10s;
    if (entry.key.proto == IPPROTO_TCP && state == FlowState::established) {
        return kConnection;
    }
    if (entry.key.proto == IPPROTO_TCP && state == FlowState::fresh) {
        return kConnecting;
    }
    const nanoseconds life = lifetime(lifetimes, state, entry.key.proto);
    return is_look_up(entry) ? std::min(life, kLookUp) : life;
}

// Of what an endpoint that has ended has left.
template <typename Key>
nanoseconds ownerless_life(const FlowLifetimes& lifetimes, FlowState state, const FlowEntry<Key>& entry) {
    // Two maximum segment lifetimes (RFC 9293, 3.4.2); whatever seems to have ended it, for anybody can send that.
    constexpr nanoseconds kConnection = 240s;
    // Of others, the other end may go on sending.
    constexpr nanoseconds kOthers = 60s;
    if (is_look_up(entry)) {
        return nanoseconds(0);
    }
    const nanoseconds life = lifetime(lifetimes, state, entry.key.proto);
    return entry.key.proto == IPPROTO_TCP ? kConnection : std::min(life, kOthers);
}

// Whether it may be over for its other half, though it was seen just now itself: of what comes from outside, which
// anybody can send, only this half knows that it was reset.
template <typename Key>
bool may_seem_alive(const FlowEntry<Key>& entry) {
    return entry.key.direction == NK_FLOW_REVERSE && (entry.value.flags & NK_FLOW_RST) != 0;
}

// `proto`: zero where the answer is no.
template <typename Key>
nk_socket_question question_about(const FlowEntry<Key>& entry, std::uint8_t proto, std::uint32_t netns_id) {
    constexpr bool kV6 = std::is_same_v<Key, nk_flow6_key>;
    const bool forward = entry.key.direction == NK_FLOW_FORWARD;
    const nk_flow6_key key = datapath::widen(entry.key);
    return {.container = forward ? key.saddr : entry.value.addr,
            .remote = forward ? key.daddr : key.saddr,
            .container_port = forward ? entry.key.sport : entry.value.port,
            .remote_port = forward ? entry.key.dport : entry.key.sport,
            .netns_id = netns_id,
            .family = kV6 ? AF_INET6 : AF_INET,
            .proto = proto,
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
    // A name that was asked for and told: the port is for the next one (RFC 4787, REQ-5 c).
    constexpr nanoseconds kLookUp = 3s;
    if (is_of_host(entry.value.endpoint_id)) {
        return hosts_life(lifetimes, state, entry);
    }
    if (!owners_.has(entry.value.endpoint_id)) {
        constexpr bool kV6 = std::is_same_v<Key, nk_flow6_key>;
        const bool left_too_much = walk_ && walk_->too_much.at(kV6 ? 1 : 0).contains(entry.value.endpoint_id);
        return left_too_much ? nanoseconds(0) : ownerless_life(lifetimes, state, entry);
    }
    const nanoseconds life = lifetime(lifetimes, state, entry.key.proto);
    return state == FlowState::established && is_look_up(entry) ? std::min(life, kLookUp) : life;
}

// The earliest that a flow can be over, given what this half of it says.
template <typename Key>
nanoseconds FlowSweeper::earliest_end(const FlowLifetimes& lifetimes, const FlowEntry<Key>& entry) const {
    const std::uint32_t flags = entry.value.flags;
    // Of the host's, nothing is known of what comes back.
    const std::uint32_t reverse_flags = is_of_host(entry.value.endpoint_id) ? 0 : flags;
    nanoseconds least = life(lifetimes, flow_state(entry.key.proto, flags, reverse_flags), entry);
    // Whether its container has taken it up, the reverse half alone knows.
    if ((flags & NK_FLOW_INBOUND) != 0) {
        least = std::min(least, life(lifetimes, FlowState::fresh, entry));
    }
    return lives_from(entry.value.endpoint_id, entry.value.last_seen_ns) + least;
}

// A flow lives by what its container sends: anybody outside can send what looks like an answer (RFC 4787, REQ-6). One
// that a program of the host's began lives by what that sends (bpf/lib/nat/host_client.h).
template <typename Key>
nanoseconds FlowSweeper::end_of(const FlowLifetimes& lifetimes, const FlowEntry<Key>& entry,
                                const nk_flow& other) const {
    const bool is_forward = entry.key.direction == NK_FLOW_FORWARD;
    const nk_flow& forward = is_forward ? entry.value : other;
    const nk_flow& reverse = is_forward ? other : entry.value;
    const bool is_arriving = (reverse.flags & NK_FLOW_ARRIVING) != 0;
    const FlowState state = is_arriving ? FlowState::fresh : flow_state(entry.key.proto, forward.flags, reverse.flags);
    const nk_flow& owner = (forward.flags & NK_FLOW_OF_HOST) != 0 ? reverse : forward;
    return lives_from(entry.value.endpoint_id, owner.last_seen_ns) + life(lifetimes, state, entry);
}

Result<milliseconds> FlowSweeper::step(const FlowLifetimes& lifetimes, nanoseconds now) {
    NK_TRY(measure());
    if (!walk_) {
        const bool due = NK_TRY(is_due(lifetimes, now));
        if (!has_owner_ended() && !due) {
            return schedule_.until_the_next_question();
        }
        auto too_much = NK_TRY(who_left_too_much());
        walk_.emplace().too_much = std::move(too_much);
    }
    if (auto done = work(lifetimes, now); !done) {
        walk_.reset();
        return std::unexpected(std::move(done).error());
    }
    if (walk_->map < maps_.size()) {
        return kBetweenSlices;
    }
    schedule_.walked(now, walk_->removed, walk_->next_end, lifetimes);
    const Result<void> forgotten = forget_ended();
    walk_.reset();
    ++walks_;
    NK_TRY(forgotten);
    NK_TRY(measure());
    return NK_TRY(is_due(lifetimes, now)) ? kBetweenSlices : schedule_.until_the_next_question();
}

Result<void> FlowSweeper::measure() {
    datapath_->share_out(owners_.count());
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

// What ended endpoints have left may have an eighth of what there is in shares: whoever starts one container after
// another must not fill the table with it. Nor may he cost others what they left: those who left most go first.
Result<std::array<std::set<std::uint32_t>, 2>> FlowSweeper::who_left_too_much() const {
    constexpr std::uint64_t kPart = 8;
    std::array<std::vector<std::pair<std::uint64_t, std::uint32_t>>, 2> left;  // how many flows, whose
    for (const auto& [endpoint_id, flows] : NK_TRY(datapath_->flow_counts())) {
        if (has_ended(endpoint_id)) {
            left[0].emplace_back(flows.flows4, endpoint_id);
            left[1].emplace_back(flows.flows6, endpoint_id);
        }
    }
    std::array<std::set<std::uint32_t>, 2> too_much;
    for (std::size_t i = 0; i < maps_.size(); i++) {
        const std::uint64_t most = datapath_->flow_map(maps_.at(i).family).capacity / 4 / kPart;
        std::uint64_t all = 0;
        std::ranges::for_each(left.at(i), [&](const auto& of_one) { all += of_one.first; });
        std::ranges::sort(left.at(i), std::ranges::greater());
        for (const auto& [flows, endpoint_id] : left.at(i)) {
            if (all <= most) {
                break;
            }
            too_much.at(i).insert(endpoint_id);
            all -= flows;
        }
    }
    return too_much;
}

nanoseconds FlowSweeper::lives_from(std::uint32_t endpoint_id, std::uint64_t last_seen_ns) const {
    const auto ended = ended_since_.find(endpoint_id);
    return ended == ended_since_.end() ? nanoseconds(last_seen_ns) : ended->second;
}

// Of endpoints that have ended, when there are no flows of them any more.
Result<void> FlowSweeper::forget_ended() {
    std::erase_if(ended_since_, [this](const auto& of_one) { return !walk_->owners.contains(of_one.first); });
    for (const auto& [endpoint_id, flows] : NK_TRY(datapath_->flow_counts())) {
        if (has_ended(endpoint_id) && !walk_->owners.contains(endpoint_id)) {
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
    load.begun = NK_TRY(datapath_->counted(NK_EVENT_FLOW_CREATED)) + NK_TRY(datapath_->counted(NK_EVENT_HOST_FLOW));
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

// What a socket of the container may keep: a connection, and a look-up as long as other datagrams.
template <typename Key>
std::uint8_t FlowSweeper::kept_by_socket(const FlowLifetimes& lifetimes, const EndedFlow<Key>& flow,
                                         nanoseconds now) const {
    const FlowEntry<Key>& entry = flow.entry;
    const bool is_forward = entry.key.direction == NK_FLOW_FORWARD || !flow.other;
    const nanoseconds last_sent(is_forward ? entry.value.last_seen_ns : flow.other->last_seen_ns);
    const bool is_kept = entry.key.proto == IPPROTO_TCP || (is_look_up(entry) && last_sent + lifetimes.udp > now);
    return is_kept ? entry.key.proto : std::uint8_t{0};
}

// Takes those out that a socket of their container keeps.
template <typename Key>
Result<void> FlowSweeper::spare_connected(std::vector<EndedFlow<Key>>& ended, const FlowLifetimes& lifetimes,
                                          nanoseconds now) const {
    // Asked for once a batch.
    std::map<std::uint32_t, std::optional<std::uint32_t>> netns_ids;
    std::vector<nk_socket_question> questions;
    for (const EndedFlow<Key>& flow : ended) {
        const std::uint32_t owner = flow.entry.value.endpoint_id;
        const auto [place, is_new] = netns_ids.try_emplace(owner);
        if (is_new && !is_of_host(owner) && owners_.has(owner)) {
            place->second = owners_.netns_id(owner);
        }
        const std::uint8_t proto = place->second ? kept_by_socket(lifetimes, flow, now) : std::uint8_t{0};
        questions.push_back(question_about(flow.entry, proto, place->second.value_or(0)));
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
        const std::uint32_t owner = entry.value.endpoint_id;
        walk_->owners.insert(owner);
        if (has_ended(owner)) {
            ended_since_.try_emplace(owner, now);
        }
        nanoseconds end = earliest_end(current, entry);
        const auto other = end <= now || may_seem_alive(entry) ? find_other_half(fd, entry) : std::nullopt;
        if (other) {
            end = end_of(current, entry, *other);
        }
        if (end > now) {
            walk_->next_end = std::min(walk_->next_end.value_or(end), end);
        } else {
            ended.push_back({.entry = entry, .other = other});
        }
    }
    NK_TRY(spare_connected(ended, lifetimes, now));
    NK_TRY(remove(ended));
    return entries.size();
}

template <typename Key>
Result<void> FlowSweeper::remove(const std::vector<EndedFlow<Key>>& ended) {
    std::vector<nk_flow_removal> removals;
    std::ranges::transform(ended, std::back_inserter(removals),
                           [](const EndedFlow<Key>& flow) { return removal_of(flow.entry, flow.other); });
    NK_TRY(datapath_->remove_flows(removals));
    const auto removed =
        static_cast<std::uint64_t>(std::ranges::count(removals, std::uint8_t{1}, &nk_flow_removal::answer));
    walk_->removed += removed;
    removed_ += removed;
    return {};
}

}  // namespace netkitd::nat
