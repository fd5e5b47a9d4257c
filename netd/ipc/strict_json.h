// JSON from an untrusted sender, as a document tree: bounded depth, no duplicate keys, UTF-8 only.
//
// nlohmann's own json::parse keeps the last of two equal keys, nests without a limit and takes a NUL byte for the end
// of the text, so that two readers of one message could disagree on what it says.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"

namespace netkitd::ipc {

// `max_depth` counts nested objects and arrays: 1 allows {"a":1} and refuses {"a":{}}.
[[nodiscard]] Result<nlohmann::json> parse_strict_json(std::string_view text, std::size_t max_depth);

}  // namespace netkitd::ipc
