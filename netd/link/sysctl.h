// net.* sysctls of the calling thread's netns, by path under /proc/sys/net ("ipv4/conf/nk0/forwarding").
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace netkitd::link {

// The value without its trailing newline. A sysctl that does not exist: ErrorKind::not_found.
[[nodiscard]] Result<std::string> read_sysctl(std::string_view path);
[[nodiscard]] Result<void> write_sysctl(std::string_view path, std::string_view value);

}  // namespace netkitd::link
