#include "netlink/netns.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>

#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace netkitd::link {
namespace {

// Puts the thread back into the netns it came from, or ends the process.
class WayBack {
public:
    explicit WayBack(UniqueFd home) : home_(std::move(home)) {}
    WayBack(const WayBack&) = delete;
    WayBack& operator=(const WayBack&) = delete;
    WayBack(WayBack&&) = delete;
    WayBack& operator=(WayBack&&) = delete;
    ~WayBack() {
        if (::setns(home_.get(), CLONE_NEWNET) < 0) {
            std::perror("cannot leave a container's network namespace, giving up: setns");
            std::abort();
        }
    }

private:
    UniqueFd home_;
};

}  // namespace

Result<UniqueFd> open_netns(const std::string& path) {
    // O_NONBLOCK: a path that names a FIFO must not hold the caller up.
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd) {
        const int error = errno;
        const auto kind = error == ENOENT ? ErrorKind::not_found : ErrorKind::internal;
        return std::unexpected(Error(
            kind, formatted("open network namespace {}: {}", path, std::generic_category().message(error)), error));
    }
    NK_TRY_CONTEXT(path, require_netns(fd.get()));
    return fd;
}

Result<void> require_netns(int fd) {
    struct statfs file_system{};
    if (::fstatfs(fd, &file_system) < 0) {
        return fail_errno(errno, "inspect a network namespace's descriptor");
    }
    // The ioctl's number may mean anything to a file that is not in nsfs.
    if (file_system.f_type != NSFS_MAGIC || ::ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET) {
        return fail(ErrorKind::invalid, "not a network namespace");
    }
    return {};
}

Result<std::uint64_t> netns_cookie_of_socket(int socket_fd) {
    std::uint64_t cookie = 0;
    socklen_t size = sizeof(cookie);
    if (::getsockopt(socket_fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) < 0) {
        return fail_errno(errno, "read the cookie of a network namespace");
    }
    return cookie;
}

Result<std::uint64_t> current_netns_cookie() {
    const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket) {
        return fail_errno(errno, "open a socket to read the cookie of a network namespace");
    }
    return netns_cookie_of_socket(socket.get());
}

Result<void> in_netns(int netns_fd, const std::function<Result<void>()>& function) {
    UniqueFd home(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!home) {
        return fail_errno(errno, "open /proc/thread-self/ns/net");
    }
    if (::setns(netns_fd, CLONE_NEWNET) < 0) {
        return fail_errno(errno, "enter the network namespace");
    }
    const WayBack way_back(std::move(home));
    return function();
}

}  // namespace netkitd::link
