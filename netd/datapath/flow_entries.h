// The flow maps' entries from the daemon's side, for what works on them (flows.cpp, flow_sweeper.cpp). Both families'
// keys have the same fields but for the addresses' type, so all of it is written once for either.
#pragma once

#include <bpf/bpf.h>

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

namespace netkitd::datapath {

template <typename Key>
struct FlowEntry {
    Key key;
    nk_flow value;
};

// The address in a flow's value, as this family's keys have it.
template <typename Key>
auto address_in(const nk_flow& value) {
    if constexpr (std::is_same_v<Key, nk_flow4_key>) {
        return value.addr.word[0];
    } else {
        return value.addr;
    }
}

// Another CPU may have written the stamp after `now` was taken.
inline std::chrono::nanoseconds since(std::chrono::nanoseconds now, std::uint64_t then_ns) {
    return std::max(std::chrono::nanoseconds(0), now - std::chrono::nanoseconds(then_ns));
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
std::optional<nk_flow> find_entry(int map, const Key& key) {
    nk_flow value{};
    if (bpf_map_lookup_elem(map, &key, &value) != 0) {
        return std::nullopt;
    }
    return value;
}

// Whether one of them was still there. Either half may be gone already: that is what is wanted.
template <typename Key>
bool remove_both(int map, const FlowEntry<Key>& entry) {
    const Key other = other_key(entry.key, entry.value);
    const bool own = bpf_map_delete_elem(map, &entry.key) == 0;
    return bpf_map_delete_elem(map, &other) == 0 || own;
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

}  // namespace netkitd::datapath
