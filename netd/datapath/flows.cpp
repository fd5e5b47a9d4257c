#include "datapath/flows.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <optional>
#include <type_traits>

namespace netkitd::datapath {
namespace {

using std::chrono::nanoseconds;

constexpr std::uint32_t kBatch = 512;

// Both families' keys have the same fields but for the addresses' type, so what follows is written once for either.
template <typename Key>
struct Entry {
    Key key;
    nk_flow value;
};

IpAddr to_address(__be32 address) {
    return IpAddr::v4(in_addr{.s_addr = address});
}

IpAddr to_address(const nk_addr& address) {
    in6_addr bytes{};
    std::memcpy(&bytes, &address, sizeof(bytes));
    return IpAddr::v6(bytes);
}

// The address in a flow's value, as this family's keys have it.
template <typename Key>
auto address_in(const nk_flow& value) {
    if constexpr (std::is_same_v<Key, nk_flow4_key>) {
        return value.addr.word[0];
    } else {
        return value.addr;
    }
}

// bpf_ktime_get_ns(), bpf-helpers(7).
std::uint64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

// Another CPU may have written the stamp after `now` was taken.
nanoseconds since(std::uint64_t now_ns, std::uint64_t then_ns) {
    return nanoseconds(then_ns < now_ns ? now_ns - then_ns : 0);
}

template <typename Key>
Key other_key(const Key& key, const nk_flow& value) {
    Key other{};
    other.proto = key.proto;
    if (key.direction == NK_FLOW_FORWARD) {
        other.direction = NK_FLOW_REVERSE;
        other.saddr = key.daddr;
        other.sport = key.dport;
        other.daddr = address_in<Key>(value);
        other.dport = value.port;
    } else {
        other.direction = NK_FLOW_FORWARD;
        other.saddr = address_in<Key>(value);
        other.sport = value.port;
        other.daddr = key.saddr;
        other.dport = key.sport;
    }
    return other;
}

template <typename Key>
std::optional<nk_flow> find(int map, const Key& key) {
    nk_flow value{};
    if (bpf_map_lookup_elem(map, &key, &value) != 0) {
        return std::nullopt;
    }
    return value;
}

// Calls `handle` for every entry, in batches; entries that appear or vanish meanwhile may be missed, as in any walk of
// a live table. `handle` may delete entries; it returns false to end the walk.
template <typename Key>
Result<void> walk(int map, const std::function<bool(const Entry<Key>&)>& handle) {
    std::vector<Key> keys(kBatch);
    std::vector<nk_flow> values(kBatch);
    std::uint32_t position = 0;
    bool first = true;
    while (true) {
        auto count = static_cast<std::uint32_t>(keys.size());
        const int error = bpf_map_lookup_batch(map, first ? nullptr : &position, &position, keys.data(), values.data(),
                                               &count, nullptr);
        // ENOSPC: one bucket holds more than fits (kernel/bpf/hashtab.c); ENOENT: this was the last batch.
        if (error != 0 && errno == ENOSPC && keys.size() < 64UL * kBatch) {
            keys.resize(keys.size() * 2);
            values.resize(keys.size());
            continue;
        }
        if (error != 0 && errno != ENOENT) {
            return fail_errno(errno, "walk the flow table");
        }
        const bool last = error != 0;
        for (std::uint32_t i = 0; i < count; ++i) {
            if (!handle({.key = keys[i], .value = values[i]})) {
                return {};
            }
        }
        if (last) {
            return {};
        }
        first = false;
    }
}

// The shortest life that an entry can have given what its own half says.
template <typename Key>
std::chrono::seconds shortest_life(const FlowLifetimes& lifetimes, bool established, const Entry<Key>& entry) {
    const std::uint32_t flags = entry.value.flags;
    const FlowState state = flow_state(established, entry.key.proto, flags, flags);
    return lifetime(lifetimes, state, entry.key.proto);
}

// Whether the flow that `entry` is one half of is over; a half without its other half is.
template <typename Key>
bool is_over(int map, const FlowLifetimes& lifetimes, bool established, const Entry<Key>& entry, std::uint64_t now_ns) {
    const nanoseconds idle = since(now_ns, entry.value.last_seen_ns);
    if (idle < shortest_life(lifetimes, established, entry)) {
        return false;
    }
    const auto other = find(map, other_key(entry.key, entry.value));
    if (!other) {
        return true;
    }
    const FlowState state = flow_state(established, entry.key.proto, entry.value.flags, other->flags);
    return std::min(idle, since(now_ns, other->last_seen_ns)) >= lifetime(lifetimes, state, entry.key.proto);
}

template <typename Key>
void remove_both(int map, const Entry<Key>& entry) {
    const Key other = other_key(entry.key, entry.value);
    // Either half may be gone already: that is what is wanted.
    bpf_map_delete_elem(map, &entry.key);
    bpf_map_delete_elem(map, &other);
}

// By its reverse half: a connection that only begins may have no other (bpf/lib/flow.h).
template <typename Key>
Flow describe(const Entry<Key>& reverse, const std::optional<nk_flow>& forward, bool established,
              std::uint64_t now_ns) {
    const nanoseconds idle = since(now_ns, reverse.value.last_seen_ns);
    return {.protocol = reverse.key.proto,
            .source = to_address(address_in<Key>(reverse.value)),
            .source_port = ntohs(reverse.value.port),
            .destination = to_address(reverse.key.saddr),
            .destination_port = ntohs(reverse.key.sport),
            .translated = to_address(reverse.key.daddr),
            .translated_port = ntohs(reverse.key.dport),
            .state = flow_state(established, reverse.key.proto, forward ? forward->flags : 0, reverse.value.flags),
            .age = since(now_ns, reverse.value.created_ns),
            .idle = forward ? std::min(idle, since(now_ns, forward->last_seen_ns)) : idle,
            .endpoint_id = reverse.value.endpoint_id};
}

// Each of the following is done to both stages of one family.

template <typename Key>
Result<void> list_family(const Datapath::FlowMaps& maps, std::size_t limit, FlowTable::Listing& listing) {
    const std::uint64_t now_ns = monotonic_ns();
    for (const auto& [map, established] : {std::pair{maps.established, true}, {maps.fresh, false}}) {
        NK_TRY(walk<Key>(map, [&](const Entry<Key>& entry) {
            if (entry.key.direction != NK_FLOW_REVERSE) {
                return true;
            }
            if (listing.flows.size() == limit) {
                listing.truncated = true;
                return false;
            }
            const auto forward = find(map, other_key(entry.key, entry.value));
            listing.flows.push_back(describe(entry, forward, established, now_ns));
            return true;
        }));
    }
    return {};
}

template <typename Key>
Result<FlowTable::SweepResult> sweep_family(const Datapath::FlowMaps& maps, const FlowLifetimes& lifetimes) {
    const std::uint64_t now_ns = monotonic_ns();
    FlowTable::SweepResult result;
    for (const auto& [map, established] : {std::pair{maps.established, true}, {maps.fresh, false}}) {
        std::uint32_t& left = established ? result.established_entries : result.fresh_entries;
        NK_TRY(walk<Key>(map, [&](const Entry<Key>& entry) {
            if (is_over(map, lifetimes, established, entry, now_ns)) {
                remove_both(map, entry);
                ++result.removed;
            } else {
                ++left;
            }
            return true;
        }));
    }
    return result;
}

template <typename Key>
Result<void> remove_endpoint_from(const Datapath::FlowMaps& maps, std::uint32_t endpoint_id) {
    for (const int map : {maps.established, maps.fresh}) {
        NK_TRY(walk<Key>(map, [&](const Entry<Key>& entry) {
            if (entry.value.endpoint_id == endpoint_id) {
                bpf_map_delete_elem(map, &entry.key);
            }
            return true;
        }));
    }
    return {};
}

template <typename Key>
Result<std::uint32_t> remove_translated_from(const Datapath::FlowMaps& maps, const FlowTable::IsGone& is_gone) {
    std::uint32_t removed = 0;
    for (const int map : {maps.established, maps.fresh}) {
        NK_TRY(walk<Key>(map, [&](const Entry<Key>& entry) {
            const IpAddr translated =
                to_address(entry.key.direction == NK_FLOW_REVERSE ? entry.key.daddr : address_in<Key>(entry.value));
            if (is_gone(translated)) {
                bpf_map_delete_elem(map, &entry.key);
                ++removed;
            }
            return true;
        }));
    }
    return removed;
}

}  // namespace

std::string_view to_string(FlowState state) {
    switch (state) {
        case FlowState::fresh:
            return "new";
        case FlowState::established:
            return "established";
        case FlowState::half_closed:
            return "half-closed";
        case FlowState::closed:
            return "closed";
    }
    return "unknown";
}

FlowState flow_state(bool established, std::uint8_t protocol, std::uint32_t forward_flags,
                     std::uint32_t reverse_flags) {
    if (protocol == IPPROTO_TCP || protocol == IPPROTO_SCTP) {
        const bool forward_fin = (forward_flags & NK_FLOW_FIN) != 0;
        const bool reverse_fin = (reverse_flags & NK_FLOW_FIN) != 0;
        if (((forward_flags | reverse_flags) & NK_FLOW_RST) != 0 || (forward_fin && reverse_fin)) {
            return FlowState::closed;
        }
        if (established && (forward_fin || reverse_fin)) {
            return FlowState::half_closed;
        }
    }
    return established ? FlowState::established : FlowState::fresh;
}

std::chrono::seconds lifetime(const FlowLifetimes& lifetimes, FlowState state, std::uint8_t protocol) {
    switch (state) {
        case FlowState::fresh:
            return lifetimes.fresh;
        case FlowState::half_closed:
            return lifetimes.tcp_half_closed;
        case FlowState::closed:
            return lifetimes.tcp_closed;
        case FlowState::established:
            break;
    }
    switch (protocol) {
        case IPPROTO_TCP:
            return lifetimes.tcp_established;
        case IPPROTO_UDP:
        case IPPROTO_UDPLITE:
            return lifetimes.udp;
        case IPPROTO_SCTP:
            return lifetimes.sctp;
        default:
            return lifetimes.icmp;
    }
}

Result<FlowTable::Listing> FlowTable::list(std::size_t limit) const {
    Listing listing;
    NK_TRY(list_family<nk_flow4_key>(maps4_, limit, listing));
    NK_TRY(list_family<nk_flow6_key>(maps6_, limit, listing));
    return listing;
}

Result<FlowTable::Sweep> FlowTable::sweep(const FlowLifetimes& lifetimes) {
    return Sweep{.v4 = NK_TRY(sweep_family<nk_flow4_key>(maps4_, lifetimes)),
                 .v6 = NK_TRY(sweep_family<nk_flow6_key>(maps6_, lifetimes))};
}

Result<void> FlowTable::remove_endpoint(std::uint32_t endpoint_id) {
    NK_TRY(remove_endpoint_from<nk_flow4_key>(maps4_, endpoint_id));
    return remove_endpoint_from<nk_flow6_key>(maps6_, endpoint_id);
}

Result<std::uint32_t> FlowTable::remove_translated(const IsGone& is_gone) {
    return NK_TRY(remove_translated_from<nk_flow4_key>(maps4_, is_gone)) +
           NK_TRY(remove_translated_from<nk_flow6_key>(maps6_, is_gone));
}

}  // namespace netkitd::datapath
