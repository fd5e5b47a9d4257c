// The maps that are pinned, with the version of their layout (NK_PINNED_MAPS in abi.h), and how a pin is named.
//
// A pin's name says the version: "flows4" is the first, "flows4-2" the second.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "abi.h"

namespace netkitd::datapath {

struct PinnedMap {
    std::string_view name;
    std::uint32_t version = 0;
};

#define NK_PINNED_MAP(map, version) PinnedMap{#map, version},
inline constexpr auto kPinnedMaps = std::to_array<PinnedMap>({NK_PINNED_MAPS(NK_PINNED_MAP)});

inline constexpr auto kFormerMaps = std::to_array<PinnedMap>({NK_FORMER_MAPS(NK_PINNED_MAP)});
#undef NK_PINNED_MAP

// This version's; nothing: that map is of one daemon, as the programs' globals are.
[[nodiscard]] std::optional<std::uint32_t> layout_version(std::string_view map);

[[nodiscard]] std::string pin_name(std::string_view map, std::uint32_t version);

struct PinName {
    std::string map;
    std::uint32_t version = 0;
    bool operator==(const PinName&) const = default;
};
// Nothing: no version of netkitd names a pin like this.
[[nodiscard]] std::optional<PinName> parse_pin_name(std::string_view text);

// Whether a version before this one made it: a map that this one has in another layout, or not at all.
[[nodiscard]] bool is_older(const PinName& pin);

}  // namespace netkitd::datapath
