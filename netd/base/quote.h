// Untrusted text in a message for people: in quotes, cut, and without bytes that a terminal or a log would act on.
#pragma once

#include <string>
#include <string_view>

namespace netkitd {

// At most this much of the text is shown; "…" marks the cut.
inline constexpr std::size_t kMaxQuotedBytes = 64;

// 'web-1', 'a\x1b[2J': bytes outside printable ASCII, and the backslash, are written as \xNN.
[[nodiscard]] std::string quote(std::string_view text);

}  // namespace netkitd
