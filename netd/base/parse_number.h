// A number from text that somebody else wrote: the whole text, or nothing.
#pragma once

#include <charconv>
#include <concepts>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>

namespace netkitd {

// parse_number<std::uint16_t>("8080"). Decimal digits are all that `text` may have: no sign, no space, no unit behind
// it. Empty also for what is not from `least` to `most`, so that a number never wraps around or is cut.
template <std::unsigned_integral Number>
[[nodiscard]] std::optional<Number> parse_number(std::string_view text, Number least = 0,
                                                 Number most = std::numeric_limits<Number>::max()) {
    Number number = 0;
    const char* const end = std::to_address(text.end());
    const auto [stop, error] = std::from_chars(std::to_address(text.begin()), end, number);
    const bool is_number = error == std::errc() && stop == end;
    return is_number && number >= least && number <= most ? std::optional(number) : std::nullopt;
}

}  // namespace netkitd
