#include "oci/container_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <string>

namespace netkitd::hook {
namespace {

std::unexpected<Error> gone(std::int32_t pid) {
    return fail(ErrorKind::not_found, "the container's process {} is gone", pid);
}

}  // namespace

Result<ContainerProcess> open_container_process(std::int32_t pid) {
    ContainerProcess process;
    // glibc's header declares pidfd_open() without extern "C".
    process.pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!process.pidfd) {
        return errno == ESRCH ? gone(pid) : fail_errno(errno, "open the container's process {}", pid);
    }
    const std::string path = std::format("/proc/{}/ns/net", pid);
    process.netns.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const int open_error = errno;
    // A pidfd is readable when its process has exited (pidfd_open(2)).
    pollfd state{.fd = process.pidfd.get(), .events = POLLIN, .revents = 0};
    if (TEMP_FAILURE_RETRY(::poll(&state, 1, 0)) != 0) {
        return gone(pid);
    }
    if (!process.netns) {
        return fail_errno(open_error, "open {}", path);
    }
    return process;
}

Result<void> refuse_user_namespace() {
    const UniqueFd map(::open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC));
    std::array<char, 128> text{};
    const ssize_t size = map ? TEMP_FAILURE_RETRY(::read(map.get(), text.data(), text.size())) : -1;
    if (size < 0) {
        return fail_errno(errno, "read /proc/self/uid_map");
    }
    // The initial namespace's map, in the kernel's own columns (uid_m_show in kernel/user_namespace.c).
    constexpr std::string_view kIdentity = "         0          0 4294967295\n";
    if (std::string_view(text.data(), static_cast<std::size_t>(size)) != kIdentity) {
        return fail(
            ErrorKind::refused,
            "rootless containers can't be attached yet (the hook runs in a user namespace): run the container as "
            "root, or without the annotation io.netkitd.network");
    }
    return {};
}

}  // namespace netkitd::hook
