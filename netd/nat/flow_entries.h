// The flow maps' entries from the daemon's side, for what works on them (flows.cpp, flow_sweeper.cpp).
#pragma once

#include <bpf/bpf.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>
#include <vector>

#include "abi.h"
#include "base/result.h"
#include "datapath/flow_key.h"

namespace netkitd::nat {

template <typename Key>
struct FlowEntry {
    Key key;
    nk_flow value;
};

using datapath::address_in;
using datapath::find_entry;
using datapath::is_same;
using datapath::other_key;

// Another CPU may have written the stamp after `now` was taken.
inline std::chrono::nanoseconds since(std::chrono::nanoseconds now, std::uint64_t then_ns) {
    return std::max(std::chrono::nanoseconds(0), now - std::chrono::nanoseconds(then_ns));
}

// The other half of this flow; its port may have gone to another flow since, whose half is there now.
template <typename Key>
std::optional<nk_flow> find_other_half(int map, const FlowEntry<Key>& entry) {
    const Key key = other_key(entry.key, entry.value);
    const std::optional<nk_flow> other = find_entry(map, key);
    if (!other || other->endpoint_id != entry.value.endpoint_id || !is_same(other_key(key, *other), entry.key)) {
        return std::nullopt;
    }
    return other;
}

// For Datapath::remove_flows(): a flow by one of its halves, as long as it is what it is here.
template <typename Key>
nk_flow_removal removal_of(const FlowEntry<Key>& entry, const std::optional<nk_flow>& other) {
    const bool is_forward = entry.key.direction == NK_FLOW_FORWARD;
    return {.key = datapath::widen(entry.key),
            .forward_seen_ns = (is_forward || !other ? entry.value : *other).last_seen_ns,
            .flags = entry.value.flags,
            .other_flags = other ? other->flags : 0,
            .family = std::is_same_v<Key, nk_flow6_key> ? AF_INET6 : AF_INET,
            .has_other = other ? std::uint8_t{1} : std::uint8_t{0},
            .anyway = 0,
            .answer = 0,
            .reserved = 0};
}

// How far the walk of a map has come, for a walk that is taken up again.
struct FlowCursor {
    std::uint32_t position = 0;
    bool begun = false;
    bool ended = false;
};

// Walks a map in batches; entries that appear or vanish meanwhile may be missed, as in any walk of a live table.
// Whoever walks may delete entries.
template <typename Key>
class FlowWalk {
public:
    explicit FlowWalk(int map) : map_(map), keys_(kBatch), values_(kBatch) {}

    // The next entries, some hundred; none when there are no more (then `cursor` has ended).
    [[nodiscard]] Result<std::vector<FlowEntry<Key>>> next(FlowCursor& cursor) {
        std::vector<FlowEntry<Key>> entries;
        while (entries.empty() && !cursor.ended) {
            auto count = static_cast<std::uint32_t>(keys_.size());
            const int error = bpf_map_lookup_batch(map_, cursor.begun ? &cursor.position : nullptr, &cursor.position,
                                                   keys_.data(), values_.data(), &count, nullptr);
            // ENOSPC: one bucket holds more than fits (kernel/bpf/hashtab.c); ENOENT: this was the last batch.
            if (error != 0 && errno == ENOSPC && keys_.size() < kMostInABucket) {
                keys_.resize(keys_.size() * 2);
                values_.resize(keys_.size());
                continue;
            }
            if (error != 0 && errno != ENOENT) {
                return fail_errno(errno, "walk the flow table");
            }
            cursor.ended = error != 0;
            cursor.begun = true;
            entries.reserve(count);
            for (std::uint32_t i = 0; i < count; ++i) {
                entries.push_back({.key = keys_[i], .value = values_[i]});
            }
        }
        return entries;
    }

private:
    static constexpr std::size_t kBatch = 512;
    static constexpr std::size_t kMostInABucket = 64 * kBatch;

    int map_;
    std::vector<Key> keys_;
    std::vector<nk_flow> values_;
};

}  // namespace netkitd::nat
