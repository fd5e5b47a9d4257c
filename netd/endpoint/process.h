// Processes by pid and pidfd: whether a pid is still the process that it was.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace netkitd {

// In clock ticks since boot: field 22 of /proc/PID/stat, proc_pid_stat(5). With the pid it names a process of this
// boot.
[[nodiscard]] Result<std::uint64_t> process_start_time(std::int32_t pid);
[[nodiscard]] Result<UniqueFd> open_pidfd(std::int32_t pid);
// A pidfd of the process that began then; not_found when it is over, whoever has its pid now.
[[nodiscard]] Result<UniqueFd> open_process(std::int32_t pid, std::uint64_t start_time);
// A pidfd becomes readable when its process is over, pidfd_open(2).
[[nodiscard]] bool process_is_over(int pidfd);

// Whether the process still has a network namespace. One that ends gives it up before its pidfd says that it has ended
// (do_exit() in kernel/exit.c), and the namespace's devices may be gone before.
[[nodiscard]] bool has_netns(std::int32_t pid);

}  // namespace netkitd
