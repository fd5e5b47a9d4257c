#include "oci/container_root.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <optional>
#include <ranges>
#include <utility>

#include "base/quote.h"
#include "base/words.h"

namespace netkitd::hook {
namespace {

// As many as the kernel follows in one path (path_resolution(7)).
constexpr int kMaxLinks = 40;
constexpr unsigned kDirectoryMode = 0755;
constexpr unsigned kFileMode = 0644;

// "etc/hosts" is "etc" and "hosts".
std::pair<std::string, std::string> split_last(const std::string& path) {
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) {
        return {".", path};
    }
    return {path.substr(0, std::max(slash, std::size_t{1})), path.substr(slash + 1)};
}

Result<struct statx> look_at(int fd) {
    struct statx info{};
    constexpr unsigned kWanted = STATX_TYPE | STATX_SIZE | STATX_MNT_ID;
    if (::statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, kWanted, &info) != 0) {
        return fail_errno(errno, "look at a file of the container");
    }
    return info;
}

// One line of `mounts`: "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw".
struct Mount {
    bool is_whole_tmpfs = false;  // not a directory of the host's, mounted once more
    bool is_shared = false;
};

std::optional<Mount> find_mount(std::string_view mounts, std::uint64_t id) {
    constexpr std::size_t kRoot = 3;
    const std::string begin = formatted("{} ", id);
    for (const auto part : mounts | std::views::split('\n')) {
        const std::string_view line(part);
        if (line.starts_with(begin)) {
            const auto words = words_of(line);
            const bool is_tmpfs = line.contains(" - tmpfs ");
            return Mount{.is_whole_tmpfs = is_tmpfs && words.size() > kRoot && words[kRoot] == "/",
                         .is_shared = line.substr(0, line.find(" - ")).contains(" shared:")};
        }
    }
    return std::nullopt;
}

}  // namespace

Result<ContainerRoot> ContainerRoot::open(const std::string& path, std::string mounts) {
    UniqueFd fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!fd) {
        return fail_errno(errno, "open the container's root {}", quote(path));
    }
    return ContainerRoot(std::move(fd), std::move(mounts));
}

Result<UniqueFd> ContainerRoot::open_in(const std::string& path, int flags, unsigned mode) const {
    open_how how{};
    how.flags = static_cast<__u64>(flags | O_CLOEXEC);
    how.mode = mode;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, fd_.get(), path.c_str(), &how, sizeof(how))));
    if (!fd) {
        const int error = errno;
        Error failed = fail_errno(error, "open {} in the container", quote(path)).error();
        return std::unexpected(error == ENOENT ? Error(ErrorKind::not_found, failed.message(), error) : failed);
    }
    return fd;
}

Result<UniqueFd> ContainerRoot::find_or_make(const std::string& path) const {
    Result<UniqueFd> found = open_in(path, O_PATH);
    if (found || found.error().kind() != ErrorKind::not_found) {
        return found;
    }
    const std::string target = NK_TRY(follow_dangling(path));
    const auto [directory, name] = split_last(target);
    NK_TRY(make_directories(directory));
    const UniqueFd at = NK_TRY(open_in(directory, O_PATH | O_DIRECTORY));
    NK_TRY(refuse_volume(at.get(), target));
    // Never by opening it: what is there already may be a device, or a FIFO that blocks.
    if (::mknodat(at.get(), name.c_str(), S_IFREG | kFileMode, 0) != 0 && errno != EEXIST) {
        return fail_errno(errno, "make {} in the container", quote(target));
    }
    return open_in(target, O_PATH | O_NOFOLLOW);
}

Result<bool> ContainerRoot::is_own(int fd) const {
    return NK_TRY(look_at(fd)).stx_mnt_id == NK_TRY(look_at(fd_.get())).stx_mnt_id;
}

// What is made in a volume stays on the host.
Result<void> ContainerRoot::refuse_volume(int directory, const std::string& path) const {
    const auto mount = find_mount(mounts_, NK_TRY(look_at(directory)).stx_mnt_id);
    if (!NK_TRY(is_own(directory)) && (!mount || !mount->is_whole_tmpfs || mount->is_shared)) {
        return fail(ErrorKind::refused, "{} in the container leads into a volume, where nothing is made", quote(path));
    }
    return {};
}

Result<void> ContainerRoot::check_target(int fd) const {
    const auto info = NK_TRY(look_at(fd));
    if (!S_ISREG(info.stx_mode)) {
        return fail(ErrorKind::refused, "it leads to what is no file: a device, a directory or the like");
    }
    const auto mount = find_mount(mounts_, info.stx_mnt_id);
    if (!NK_TRY(is_own(fd)) && (!mount || mount->is_shared)) {
        return fail(ErrorKind::refused,
                    "it leads into a volume with shared propagation: what is mounted there is mounted on the host too");
    }
    return {};
}

// Where the links end that begin at `path` and lead to nothing: images have /etc/resolv.conf as a link to what a daemon
// would write below /run.
Result<std::string> ContainerRoot::follow_dangling(std::string path) const {
    for (int links = 0; links < kMaxLinks; ++links) {
        const Result<UniqueFd> link = open_in(path, O_PATH | O_NOFOLLOW);
        if (!link) {
            return path;  // or a directory on the way is not there
        }
        std::array<char, PATH_MAX> text{};
        const ssize_t size = ::readlinkat(link->get(), "", text.data(), text.size());
        if (size <= 0 || static_cast<std::size_t>(size) == text.size()) {
            return fail(ErrorKind::invalid, "{} in the container is neither a file nor a link to one", quote(path));
        }
        std::string target(text.data(), static_cast<std::size_t>(size));
        // What begins with a slash begins at the container's root.
        path = target.starts_with('/') ? target : formatted("{}/{}", split_last(path).first, target);
    }
    return fail(ErrorKind::invalid, "too many links from {} in the container", quote(path));
}

Result<void> ContainerRoot::make_directories(std::string_view path) const {
    for (std::size_t end = 0; end < path.size();) {
        end = std::min(path.find('/', end + 1), path.size());
        const std::string directory(path.substr(0, end));
        if (open_in(directory, O_PATH | O_DIRECTORY)) {
            continue;
        }
        const auto [parent, name] = split_last(directory);
        if (path.substr(end).contains("/..")) {
            return fail(ErrorKind::refused, "{} in the container leads back from where nothing is", quote(path));
        }
        const UniqueFd at = NK_TRY(open_in(parent, O_PATH | O_DIRECTORY));
        NK_TRY(refuse_volume(at.get(), directory));
        if (::mkdirat(at.get(), name.c_str(), kDirectoryMode) != 0 && errno != EEXIST) {
            return fail_errno(errno, "make the directory {} in the container", quote(directory));
        }
    }
    return {};
}

Result<bool> is_mount(int fd) {
    return (NK_TRY(look_at(fd)).stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

Result<std::uint64_t> size_of(int fd) {
    return NK_TRY(look_at(fd)).stx_size;
}

}  // namespace netkitd::hook
