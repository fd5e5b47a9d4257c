// net.* sysctls of the calling thread's netns, by path under /proc/sys/net ("ipv4/conf/nk0/forwarding").
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace netkitd::link {

// The value without its trailing newline. A sysctl that does not exist: ErrorKind::not_found.
[[nodiscard]] Result<std::string> read_sysctl(std::string_view path);
// Empty where it does not exist.
[[nodiscard]] Result<std::optional<std::string>> read_sysctl_if_there(std::string_view path);
// The names in a directory ("ipv6/conf": lo, all, default, eth0, …), in no order.
[[nodiscard]] Result<std::vector<std::string>> list_sysctls(std::string_view path);
[[nodiscard]] Result<void> write_sysctl(std::string_view path, std::string_view value);

}  // namespace netkitd::link
