#include "endpoint/process.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "base/parse_number.h"

namespace netkitd {
namespace {

constexpr int kStartTimeField = 22;
constexpr int kFirstFieldAfterName = 3;

}  // namespace

Result<std::uint64_t> process_start_time(std::int32_t pid) {
    const std::string path = formatted("/proc/{}/stat", pid);
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line)) {
        return fail(ErrorKind::not_found, "process {} does not exist", pid);
    }
    // The name may hold spaces and parentheses, so fields are counted from the last parenthesis.
    const auto end_of_name = line.rfind(')');
    std::istringstream fields(end_of_name == std::string::npos ? std::string() : line.substr(end_of_name + 1));
    std::string field;
    for (int number = kFirstFieldAfterName; number <= kStartTimeField; ++number) {
        fields >> field;
    }
    const auto start_time = parse_number<std::uint64_t>(field);
    if (!fields || !start_time) {
        return fail(ErrorKind::internal, "{} has no start time", path);
    }
    return *start_time;
}

Result<UniqueFd> open_pidfd(std::int32_t pid) {
    UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    if (!fd) {
        return fail_errno(errno, "open a pidfd of process {}", pid);
    }
    return fd;
}

Result<UniqueFd> open_process(std::int32_t pid, std::uint64_t start_time) {
    // The pidfd is opened first: then the start time belongs to the process that it refers to.
    auto pidfd = open_pidfd(pid);
    const auto found = process_start_time(pid);
    if (!pidfd || !found || *found != start_time || process_is_over(pidfd->get())) {
        return fail(ErrorKind::not_found, "process {} is over", pid);
    }
    return pidfd;
}

bool process_is_over(int pidfd) {
    pollfd query{.fd = pidfd, .events = POLLIN, .revents = 0};
    return poll(&query, 1, 0) == 1 && (query.revents & POLLIN) != 0;
}

bool has_netns(std::int32_t pid) {
    std::error_code error;
    return !std::filesystem::read_symlink(formatted("/proc/{}/ns/net", pid), error).empty();
}

}  // namespace netkitd
