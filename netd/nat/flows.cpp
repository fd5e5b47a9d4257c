#include "nat/flows.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>

#include <algorithm>

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
           (!filter.inbound || *filter.inbound == ((entry.value.flags & NK_FLOW_INBOUND) != 0)) &&
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

// By its reverse half, which has the port; of a former version's flow, there may be no other.
template <typename Key>
Flow describe(const FlowEntry<Key>& reverse, const std::optional<nk_flow>& forward, nanoseconds now) {
    const nanoseconds idle = since(now, reverse.value.last_seen_ns);
    const bool is_hosts = is_of_host(reverse.value.endpoint_id);
    return {.protocol = reverse.key.proto,
            .source = to_address(is_hosts ? reverse.key.daddr : address_in<Key>(reverse.value)),
            .source_port = ntohs(is_hosts ? reverse.key.dport : reverse.value.port),
            .destination = to_address(reverse.key.saddr),
            .destination_port = ntohs(reverse.key.sport),
            .translated = to_address(reverse.key.daddr),
            .translated_port = ntohs(reverse.key.dport),
            // Of the host's, what it sent itself.
            .state = is_hosts ? flow_state(reverse.key.proto, reverse.value.flags, 0)
                              : flow_state(reverse.key.proto, forward ? forward->flags : 0, reverse.value.flags),
            .age = since(now, reverse.value.created_ns),
            .idle = forward ? std::min(idle, since(now, forward->last_seen_ns)) : idle,
            .inbound = (reverse.value.flags & NK_FLOW_INBOUND) != 0,
            .inside = (reverse.value.flags & NK_FLOW_INSIDE) != 0,
            .endpoint_id = reverse.value.endpoint_id};
}

template <typename Key>
Result<void> list_family(int map, std::size_t limit, const FlowFilter& filter, FlowTable::Listing& listing) {
    const nanoseconds now = monotonic_now();
    return walk<Key>(map, filter, [&](const FlowEntry<Key>& entry) {
        if (entry.key.direction != NK_FLOW_REVERSE) {
            return true;
        }
        if (listing.flows.size() == limit) {
            listing.truncated = true;
            return false;
        }
        listing.flows.push_back(describe(entry, find_other_half(map, entry), now));
        return true;
    });
}

// Whichever half is met first takes the other with it.
template <typename Key>
Result<std::uint64_t> flush_family(const datapath::Datapath& datapath, int map, const FlowFilter& filter) {
    std::uint64_t flushed = 0;
    FlowWalk<Key> walk(map);
    for (FlowCursor cursor; !cursor.ended;) {
        std::vector<nk_flow_removal> removals;
        for (const FlowEntry<Key>& entry : NK_TRY(walk.next(cursor))) {
            if (matches(filter, entry)) {
                removals.push_back(removal_of(entry, std::nullopt));
                removals.back().anyway = 1;
            }
        }
        NK_TRY(datapath.remove_flows(removals));
        flushed += static_cast<std::uint64_t>(std::ranges::count(removals, std::uint8_t{1}, &nk_flow_removal::answer));
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

FlowState flow_state(std::uint8_t protocol, std::uint32_t forward_flags, std::uint32_t reverse_flags) {
    const bool answered = ((forward_flags | reverse_flags) & NK_FLOW_ANSWERED) != 0;
    if (protocol == IPPROTO_TCP || protocol == IPPROTO_SCTP) {
        const bool forward_fin = (forward_flags & NK_FLOW_FIN) != 0;
        const bool reverse_fin = (reverse_flags & NK_FLOW_FIN) != 0;
        const bool forward_rst = (forward_flags & NK_FLOW_RST) != 0;
        const bool reverse_rst = (reverse_flags & NK_FLOW_RST) != 0;
        // Anybody can send a reset: where no socket can be asked, it is no more than that end's FIN.
        const bool has_witness = (forward_flags & NK_FLOW_WITNESS) != 0;
        const bool is_reset = forward_rst || (reverse_rst && (forward_fin || !answered || has_witness));
        if (is_reset || (forward_fin && reverse_fin)) {
            return FlowState::closed;
        }
        if (answered && (forward_fin || reverse_fin || reverse_rst)) {
            return FlowState::half_closed;
        }
    }
    return answered ? FlowState::established : FlowState::fresh;
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

Result<FlowTable::Listing> FlowTable::list(std::size_t limit, const FlowFilter& filter) const {
    Listing listing;
    NK_TRY(list_family<nk_flow4_key>(datapath_->flow_map(IpFamily::v4).fd, limit, filter, listing));
    NK_TRY(list_family<nk_flow6_key>(datapath_->flow_map(IpFamily::v6).fd, limit, filter, listing));
    return listing;
}

Result<std::uint64_t> FlowTable::flush(const FlowFilter& filter) {
    const std::uint64_t flushed4 =
        NK_TRY(flush_family<nk_flow4_key>(*datapath_, datapath_->flow_map(IpFamily::v4).fd, filter));
    return flushed4 + NK_TRY(flush_family<nk_flow6_key>(*datapath_, datapath_->flow_map(IpFamily::v6).fd, filter));
}

}  // namespace netkitd::nat
