#include "nat/flows.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>

#include <algorithm>
#include <ctime>

#include "datapath/address.h"
#include "nat/flow_entries.h"

namespace netkitd::nat {
namespace {

using std::chrono::nanoseconds;

// As a key has it: that of IPv4 the word alone.
IpAddr to_address(__be32 address) {
    return IpAddr::v4(in_addr{.s_addr = address});
}

IpAddr to_address(const nk_addr& address) {
    return datapath::to_ip_addr(address, IpFamily::v6);
}

template <typename Key>
bool matches(const FlowFilter& filter, const FlowEntry<Key>& entry) {
    const bool forward = entry.key.direction == NK_FLOW_FORWARD;
    const std::uint16_t remote_port = ntohs(forward ? entry.key.dport : entry.key.sport);
    return (!filter.endpoint_id || *filter.endpoint_id == entry.value.endpoint_id) &&
           (!filter.owner || filter.owner(entry.value.endpoint_id)) &&
           (!filter.protocol || *filter.protocol == entry.key.proto) &&
           (!filter.destination_port || *filter.destination_port == remote_port) &&
           (!filter.destination ||
            filter.destination->contains(to_address(forward ? entry.key.daddr : entry.key.saddr))) &&
           (!filter.translated ||
            filter.translated(to_address(forward ? address_in<Key>(entry.value) : entry.key.daddr))) &&
           (!filter.translated_port || filter.translated_port(ntohs(forward ? entry.value.port : entry.key.dport)));
}

// Calls `handle` for every entry that `filter` is about; it returns false to end the walk.
template <typename Key, typename Handle>
Result<void> walk(int map, const FlowFilter& filter, Handle handle) {
    FlowWalk<Key> walk(map);
    for (FlowCursor cursor; !cursor.ended;) {
        for (const FlowEntry<Key>& entry : NK_TRY(walk.next(cursor))) {
            if (matches(filter, entry) && !handle(entry)) {
                return {};
            }
        }
    }
    return {};
}

// By its reverse half: a connection that only begins may have no other (bpf/lib/flow.h).
template <typename Key>
Flow describe(const FlowEntry<Key>& reverse, const std::optional<nk_flow>& forward, bool established, nanoseconds now) {
    const nanoseconds idle = since(now, reverse.value.last_seen_ns);
    return {.protocol = reverse.key.proto,
            .source = to_address(address_in<Key>(reverse.value)),
            .source_port = ntohs(reverse.value.port),
            .destination = to_address(reverse.key.saddr),
            .destination_port = ntohs(reverse.key.sport),
            .translated = to_address(reverse.key.daddr),
            .translated_port = ntohs(reverse.key.dport),
            .state = flow_state(established, reverse.key.proto, forward ? forward->flags : 0, reverse.value.flags),
            .age = since(now, reverse.value.created_ns),
            .idle = forward ? std::min(idle, since(now, forward->last_seen_ns)) : idle,
            .endpoint_id = reverse.value.endpoint_id};
}

// Each of the following is done to both stages of one family.

template <typename Key>
Result<void> list_family(const datapath::Datapath::FlowMaps& maps, std::size_t limit, const FlowFilter& filter,
                         FlowTable::Listing& listing) {
    const nanoseconds now = monotonic_now();
    for (const auto& [map, established] : {std::pair{maps.established, true}, {maps.fresh, false}}) {
        NK_TRY(walk<Key>(map, filter, [&](const FlowEntry<Key>& entry) {
            if (entry.key.direction != NK_FLOW_REVERSE) {
                return true;
            }
            if (listing.flows.size() == limit) {
                listing.truncated = true;
                return false;
            }
            const auto forward = find_other_half(map, entry);
            listing.flows.push_back(describe(entry, forward, established, now));
            return true;
        }));
    }
    return {};
}

template <typename Key>
Result<std::uint64_t> flush_family(const datapath::Datapath::FlowMaps& maps, const FlowFilter& filter) {
    std::uint64_t flushed = 0;
    // In this order: a flow that gets its first reply meanwhile is met in one or the other.
    for (const int map : {maps.fresh, maps.established}) {
        // Whichever half is met first takes the other with it.
        NK_TRY(walk<Key>(map, filter, [&](const FlowEntry<Key>& entry) {
            flushed += remove_flow(map, entry, find_other_half(map, entry).has_value()) ? 1U : 0U;
            return true;
        }));
    }
    return flushed;
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

nanoseconds monotonic_now() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return std::chrono::seconds(now.tv_sec) + nanoseconds(now.tv_nsec);
}

Result<FlowTable::Listing> FlowTable::list(std::size_t limit, const FlowFilter& filter) const {
    Listing listing;
    NK_TRY(list_family<nk_flow4_key>(maps4_, limit, filter, listing));
    NK_TRY(list_family<nk_flow6_key>(maps6_, limit, filter, listing));
    return listing;
}

Result<std::uint64_t> FlowTable::flush(const FlowFilter& filter) {
    const std::uint64_t flushed4 = NK_TRY(flush_family<nk_flow4_key>(maps4_, filter));
    return flushed4 + NK_TRY(flush_family<nk_flow6_key>(maps6_, filter));
}

}  // namespace netkitd::nat
