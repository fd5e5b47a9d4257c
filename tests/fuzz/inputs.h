// What is fuzzed: everything that parses bytes from outside. Each function takes any bytes and must return: a crash, a
// sanitizer's complaint or a broken promise of the parser (it aborts then) is the finding.
#pragma once

#include <string_view>
#include <vector>

namespace netkitd::fuzz {

// A request as the daemon gets it.
void fuzz_request(std::string_view bytes);
// A reply as a door gets it.
void fuzz_reply(std::string_view bytes);
// The container state as the hook gets it.
void fuzz_oci_state(std::string_view bytes);

// Well-formed inputs to start from.
[[nodiscard]] std::vector<std::string_view> request_seeds();
[[nodiscard]] std::vector<std::string_view> reply_seeds();
[[nodiscard]] std::vector<std::string_view> oci_state_seeds();

}  // namespace netkitd::fuzz
