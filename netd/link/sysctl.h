// net.* sysctls of the calling thread's netns, by path under /proc/sys/net ("ipv4/conf/nk0/forwarding").
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace netkitd::link {

// The value without its trailing newline. A sysctl that does not exist: ErrorKind::not_found.
[[nodiscard]] Result<std::string> read_sysctl(std::string_view path);
// Empty where it does not exist.
[[nodiscard]] Result<std::optional<std::string>> read_sysctl_if_there(std::string_view path);
// The names in a directory ("ipv6/conf": lo, all, default, eth0, …), in no order.
[[nodiscard]] Result<std::vector<std::string>> list_sysctls(std::string_view path);
[[nodiscard]] Result<void> write_sysctl(std::string_view path, std::string_view value);

// The same of one netns, for who asks often or has many netns to do with. The kernel's name cache has "ipv4" and "ipv6"
// under /proc/sys/net once for every netns that anybody looked into, all in one chain: each path from there is compared
// with all of them (seen: at 500 containers, a third of what an attach costs). Here they are looked up once.
class Sysctls {
public:
    // Of the calling thread's netns. Usable from there only: the kernel hides a netns's sysctls from outside of it.
    [[nodiscard]] static Result<Sysctls> open();

    [[nodiscard]] Result<std::string> read(std::string_view path) const;
    [[nodiscard]] Result<std::optional<std::string>> read_if_there(std::string_view path) const;
    [[nodiscard]] Result<void> write(std::string_view path, std::string_view value) const;

private:
    [[nodiscard]] Result<UniqueFd> open_sysctl(std::string_view path, int flags) const;

    UniqueFd ipv4_;
    UniqueFd ipv6_;  // none where the kernel has no IPv6
};

}  // namespace netkitd::link
