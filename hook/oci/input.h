// Reads what the runtime writes to the hook's stdin.
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"

namespace netkitd::hook {

// Far more than any runtime's state: an annotation of every container option there is stays below 100 KiB.
inline constexpr std::size_t kMaxStateBytes = 1024UL * 1024;

// Everything up to the end. What is over kMaxStateBytes is an error, but it is read all the same, without being kept:
// crun writes the state in one blocking write before it waits for the hook, and would die of SIGPIPE.
[[nodiscard]] Result<std::string> read_to_end(int fd, std::chrono::steady_clock::time_point end);

}  // namespace netkitd::hook
