#include "oci/input.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace netkitd::hook {
namespace {

using Clock = std::chrono::steady_clock;

Result<void> wait_readable(int fd, Clock::time_point end) {
    pollfd state{.fd = fd, .events = POLLIN, .revents = 0};
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
        const int ready = ::poll(&state, 1, static_cast<int>(std::max(left.count(), std::int64_t{0})));
        if (ready > 0) {
            return {};
        }
        if (ready == 0) {
            return fail(ErrorKind::unavailable, "the runtime did not finish writing the OCI state in time");
        }
        if (errno != EINTR) {
            return fail_errno(errno, "wait for the OCI state on stdin");
        }
    }
}

}  // namespace

Result<std::string> read_to_end(int fd, Clock::time_point end) {
    // 64 KiB is what a pipe holds (pipe(7)).
    std::array<char, 64UL * 1024> chunk{};
    std::string text;
    std::size_t total = 0;
    for (;;) {
        NK_TRY(wait_readable(fd, end));
        const ssize_t count = ::read(fd, chunk.data(), chunk.size());
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return fail_errno(errno, "read the OCI state on stdin");
        }
        if (count == 0) {
            break;
        }
        total += static_cast<std::size_t>(count);
        if (total <= kMaxStateBytes) {
            text.append(chunk.data(), static_cast<std::size_t>(count));
        }
    }
    if (total > kMaxStateBytes) {
        return fail(ErrorKind::invalid, "the OCI state on stdin is {} bytes long, at most {} are read", total,
                    kMaxStateBytes);
    }
    return text;
}

}  // namespace netkitd::hook
