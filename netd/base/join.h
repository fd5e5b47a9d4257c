// A list as text, for messages: "web, db, cache".
#pragma once

#include <functional>
#include <ranges>
#include <string>
#include <string_view>
#include <utility>

namespace netkitd {

// join(networks, &NetworkConfig::name) is "default, web". `projection` makes text of a part, which may be empty and has
// its separators all the same; without it, the parts are texts themselves.
template <std::ranges::input_range Parts, typename Projection = std::identity>
[[nodiscard]] std::string join(Parts&& parts, Projection projection = {}, std::string_view separator = ", ") {
    std::string text;
    std::string_view before;
    for (auto&& part : std::forward<Parts>(parts)) {
        text += before;
        text += std::invoke(projection, part);
        before = separator;
    }
    return text;
}

}  // namespace netkitd
