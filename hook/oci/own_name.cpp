#include "oci/own_name.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>

#include "base/format.h"
#include "base/quote.h"
#include "base/read_file.h"
#include "base/unique_fd.h"
#include "oci/hosts_file.h"

namespace netkitd::hook {
namespace {

// Podman writes it a few milliseconds after the hook; on a machine with much to do, seconds.
constexpr std::chrono::milliseconds kPatience{30'000};
constexpr std::size_t kMaxHostsBytes = 256UL * 1024;

// Whether it was written. In place: it may be mounted already.
Result<bool> edit(int fd, const OwnName& name) {
    if (::lseek(fd, 0, SEEK_SET) != 0) {
        return fail_errno(errno, "seek in {}", quote(name.hosts_file));
    }
    const std::string hosts = NK_TRY_CONTEXT(name.hosts_file, read_file(fd, kMaxHostsBytes));
    const auto text = with_own_addresses(hosts, name.host_name, name.addresses);
    if (!text) {
        return false;
    }
    if (::pwrite(fd, text->data(), text->size(), 0) != static_cast<ssize_t>(text->size()) ||
        ::ftruncate(fd, static_cast<off_t>(text->size())) != 0) {
        return fail_errno(errno, "write {}", quote(name.hosts_file));
    }
    return true;
}

// Nobody waits for it: the runtime waits until all that has the hook's output has closed it.
void detach_from_runtime() {
    ::setsid();
    const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (null) {
            ::dup2(null.get(), stream);
        } else {
            ::close(stream);
        }
    }
}

void edit_once_written(int fd, int watch, int pidfd, const OwnName& name) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    std::array<pollfd, 2> events{
        {{.fd = watch, .events = POLLIN, .revents = 0}, {.fd = pidfd, .events = POLLIN, .revents = 0}}};
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now()).count();
        if (left <= 0 || ::poll(events.data(), events.size(), static_cast<int>(left)) <= 0 || events[1].revents != 0) {
            return;
        }
        std::array<char, 4096> unread{};
        [[maybe_unused]] const auto size = ::read(watch, unread.data(), unread.size());
        if (const auto done = edit(fd, name); !done || *done) {
            return;
        }
    }
}

}  // namespace

Result<void> put_own_name(const OwnName& name, int pidfd) {
    const UniqueFd fd(::open(name.hosts_file.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    const UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!fd || !watch ||
        ::inotify_add_watch(watch.get(), formatted("/proc/self/fd/{}", fd.get()).c_str(), IN_CLOSE_WRITE) < 0) {
        return fail_errno(errno, "watch {}", quote(name.hosts_file));
    }
    if (NK_TRY(edit(fd.get(), name))) {
        return {};
    }
    const pid_t child = ::fork();
    if (child < 0) {
        return fail_errno(errno, "fork");
    }
    if (child == 0) {
        detach_from_runtime();
        edit_once_written(fd.get(), watch.get(), pidfd, name);
        ::_exit(0);
    }
    return {};
}

}  // namespace netkitd::hook
