// Reads a small file whole.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"

namespace netkitd {

// A larger one is an error. `fd` must not block: a regular file, or opened with O_NONBLOCK.
[[nodiscard]] Result<std::string> read_file(int fd, std::size_t max_bytes);
[[nodiscard]] Result<std::string> read_file(const std::string& path, std::size_t max_bytes);

}  // namespace netkitd
