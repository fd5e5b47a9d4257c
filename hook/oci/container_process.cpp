#include "oci/container_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "base/parse_number.h"
#include "base/read_file.h"
#include "base/words.h"

namespace netkitd::hook {
namespace {

// 340 lines of three numbers (user_namespaces(7)).
constexpr std::size_t kMaxMapBytes = 16UL * 1024;

std::unexpected<Error> gone(std::int32_t pid) {
    return fail(ErrorKind::not_found, "the container's process {} is gone", pid);
}

Result<UniqueFd> open_namespace(std::int32_t pid, std::string_view kind) {
    const std::string path = formatted("/proc/{}/ns/{}", pid, kind);
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        return fail_errno(errno, "open {}", path);
    }
    return fd;
}

// Of a user namespace's map, a line for each range of ids: inside, outside, how many (user_namespaces(7)).
Result<std::uint32_t> outside_id_of_root(std::int32_t pid, std::string_view map) {
    const std::string path = formatted("/proc/{}/{}", pid, map);
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        return fail_errno(errno, "open {}", path);
    }
    const std::string text = NK_TRY_CONTEXT(path, read_file(fd.get(), kMaxMapBytes));
    const std::vector<std::string_view> ids = words_of(text);
    for (std::size_t i = 0; i + 2 < ids.size(); i += 3) {
        if (ids[i] == "0") {
            return parse_number<std::uint32_t>(ids[i + 1]).value_or(0);
        }
    }
    return 0;
}

Result<ContainerProcess> open_all(std::int32_t pid) {
    return ContainerProcess{.netns = NK_TRY(open_namespace(pid, "net")),
                            .mount_namespace = NK_TRY(open_namespace(pid, "mnt")),
                            .pidfd = {},
                            .root_user = {.uid = NK_TRY(outside_id_of_root(pid, "uid_map")),
                                          .gid = NK_TRY(outside_id_of_root(pid, "gid_map"))}};
}

bool has_exited(int pidfd) {
    // A pidfd is readable when its process has exited (pidfd_open(2)).
    pollfd state{.fd = pidfd, .events = POLLIN, .revents = 0};
    return TEMP_FAILURE_RETRY(::poll(&state, 1, 0)) != 0;
}

}  // namespace

Result<ContainerProcess> open_container_process(std::int32_t pid) {
    // glibc's header declares pidfd_open() without extern "C".
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!pidfd) {
        return errno == ESRCH ? gone(pid) : fail_errno(errno, "open the container's process {}", pid);
    }
    Result<ContainerProcess> opened = open_all(pid);
    if (has_exited(pidfd.get())) {
        return gone(pid);
    }
    if (opened) {
        opened->pidfd = std::move(pidfd);
    }
    return opened;
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
