// Network namespaces: open by path, identify, and run a function inside one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace netkitd::link {

// `path` must be a network namespace (ioctl NS_GET_NSTYPE says CLONE_NEWNET); anything else is an error that says so.
[[nodiscard]] Result<UniqueFd> open_netns(const std::string& path);
// Checks a descriptor that came from somebody else.
[[nodiscard]] Result<void> require_netns(int fd);
// SO_NETNS_COOKIE (socket(7), Linux 5.14) of the netns that a socket was opened in.
[[nodiscard]] Result<std::uint64_t> netns_cookie_of_socket(int socket_fd);
// That of the calling thread's netns.
[[nodiscard]] Result<std::uint64_t> current_netns_cookie();

// Runs `function` with the calling thread inside the netns; the thread is back in its own afterwards, also when the
// function fails. If the way back fails the process aborts: going on in a container's netns would be worse.
[[nodiscard]] Result<void> in_netns(int netns_fd, const std::function<Result<void>()>& function);

}  // namespace netkitd::link
