#include "datapath/pinned_maps.h"

#include <algorithm>

#include "base/format.h"
#include "base/parse_number.h"

namespace netkitd::datapath {

std::optional<std::uint32_t> layout_version(std::string_view map) {
    const auto* const found = std::ranges::find(kPinnedMaps, map, &PinnedMap::name);
    return found == kPinnedMaps.end() ? std::nullopt : std::optional(found->version);
}

std::string pin_name(std::string_view map, std::uint32_t version) {
    return version == 1 ? std::string(map) : formatted("{}-{}", map, version);
}

std::optional<PinName> parse_pin_name(std::string_view text) {
    const auto dash = text.find('-');
    const std::string map(text.substr(0, dash));
    if (dash == std::string_view::npos) {
        return PinName{.map = map, .version = 1};
    }
    const auto version = parse_number<std::uint32_t>(text.substr(dash + 1));
    if (map.empty() || !version || *version < 2) {
        return std::nullopt;
    }
    return PinName{.map = map, .version = *version};
}

bool is_older(const PinName& pin) {
    if (const auto version = layout_version(pin.map)) {
        return pin.version < *version;
    }
    const auto* const former = std::ranges::find(kFormerMaps, pin.map, &PinnedMap::name);
    return former != kFormerMaps.end() && pin.version <= former->version;
}

}  // namespace netkitd::datapath
