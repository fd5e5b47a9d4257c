// Paths below a container's root file system. Its images are somebody else's: a link in them leads where it would lead
// in the container, never out of its root (RESOLVE_IN_ROOT, openat2(2)).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace netkitd::hook {

class ContainerRoot {
public:
    // In the mount namespace of the calling thread. `mounts`: proc_pid_mountinfo(5) of a process in it.
    [[nodiscard]] static Result<ContainerRoot> open(const std::string& path, std::string mounts);

    [[nodiscard]] int fd() const { return fd_.get(); }
    // The file that `path` ("etc/hosts") leads to, as an O_PATH descriptor. An empty one is made where there is none,
    // and the directories to it: what a runtime does before it mounts a file there.
    [[nodiscard]] Result<UniqueFd> find_or_make(const std::string& path) const;
    // An error, unless what is mounted on this file is seen in the container only, and breaks nothing there.
    [[nodiscard]] Result<void> check_target(int fd) const;

private:
    ContainerRoot(UniqueFd fd, std::string mounts) : fd_(std::move(fd)), mounts_(std::move(mounts)) {}
    [[nodiscard]] Result<bool> is_own(int fd) const;
    [[nodiscard]] Result<UniqueFd> open_in(const std::string& path, int flags, unsigned mode = 0) const;
    [[nodiscard]] Result<std::string> follow_dangling(std::string path) const;
    [[nodiscard]] Result<void> make_directories(std::string_view path) const;
    [[nodiscard]] Result<void> refuse_volume(int directory, const std::string& path) const;

    UniqueFd fd_;
    std::string mounts_;
};

// Whether something is mounted there: then it is what the user or the runtime put there.
[[nodiscard]] Result<bool> is_mount(int fd);
[[nodiscard]] Result<std::uint64_t> size_of(int fd);

}  // namespace netkitd::hook
