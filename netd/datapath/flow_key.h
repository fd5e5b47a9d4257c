// The two halves of a flow as the maps have them, and how they are found. Both families' keys have the same fields but
// for the addresses' type, so that all of it is written once for either.
#pragma once

#include <bpf/bpf.h>

#include <cstring>
#include <optional>
#include <type_traits>

#include "abi.h"

namespace netkitd::datapath {

// The address in a flow's value, as this family's keys have it.
template <typename Key>
auto address_in(const nk_flow& value) {
    if constexpr (std::is_same_v<Key, nk_flow4_key>) {
        return value.addr.word[0];
    } else {
        return value.addr;
    }
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

// As the programs have either family's.
inline nk_flow6_key widen(const nk_flow6_key& key) {
    return key;
}

inline nk_flow6_key widen(const nk_flow4_key& key) {
    return {.saddr = {.word = {key.saddr, 0, 0, 0}},
            .daddr = {.word = {key.daddr, 0, 0, 0}},
            .sport = key.sport,
            .dport = key.dport,
            .proto = key.proto,
            .direction = key.direction,
            .reserved = 0};
}

// All bytes are of fields, those of `reserved` zero: the kernel compares keys likewise.
template <typename Key>
bool is_same(const Key& one, const Key& other) {
    static_assert(std::has_unique_object_representations_v<Key>);
    return std::memcmp(&one, &other, sizeof(Key)) == 0;
}

template <typename Key>
std::optional<nk_flow> find_entry(int map, const Key& key) {
    nk_flow value{};
    if (bpf_map_lookup_elem(map, &key, &value) != 0) {
        return std::nullopt;
    }
    return value;
}

}  // namespace netkitd::datapath
