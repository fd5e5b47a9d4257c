#include "oci/private_file.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/unique_fd.h"

namespace netkitd::hook {
namespace {

constexpr const char* kName = "file";  // nobody sees it
// Many times what a resolv.conf with every option there is needs.
constexpr const char* kSize = "256k";
constexpr const char* kInodes = "2";
constexpr mode_t kFileMode = 0644;

Result<void> set(const UniqueFd& context, const char* key, const char* value) {
    if (::fsconfig(context.get(), FSCONFIG_SET_STRING, key, value, 0) != 0) {
        return fail_errno(errno, "make a tmpfs with {}={}", key, value);
    }
    return {};
}

Result<UniqueFd> make_file_system() {
    const UniqueFd context(::fsopen("tmpfs", FSOPEN_CLOEXEC));
    if (!context) {
        return fail_errno(errno, "make a tmpfs");
    }
    NK_TRY(set(context, "source", "netkitd"));
    NK_TRY(set(context, "size", kSize));
    NK_TRY(set(context, "nr_inodes", kInodes));
    if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
        return fail_errno(errno, "make a tmpfs");
    }
    UniqueFd file_system(::fsmount(context.get(), FSMOUNT_CLOEXEC,
                                   MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RELATIME));
    if (!file_system) {
        return fail_errno(errno, "mount a tmpfs");
    }
    return file_system;
}

Result<void> move_mount_to(int mount, int target) {
    if (::move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
        return fail_errno(errno, "mount in the container");
    }
    return {};
}

// A file system that stands on a directory for as long as its file is being mounted: before Linux 6.15 only what is in
// the mount namespace itself can be mounted a second time (may_copy_tree() in fs/namespace.c).
class Standing {
public:
    [[nodiscard]] static Result<Standing> on(int directory, UniqueFd file_system) {
        NK_TRY(move_mount_to(file_system.get(), directory));
        return Standing(std::move(file_system));
    }
    ~Standing() {
        // By the working directory: no path leads to what stands on a root.
        if (file_system_ && ::fchdir(file_system_.get()) == 0) {
            ::umount2(".", MNT_DETACH);
        }
    }
    Standing(Standing&&) noexcept = default;
    Standing(const Standing&) = delete;
    Standing& operator=(const Standing&) = delete;
    Standing& operator=(Standing&&) = delete;

    [[nodiscard]] int fd() const { return file_system_.get(); }

private:
    explicit Standing(UniqueFd file_system) : file_system_(std::move(file_system)) {}
    UniqueFd file_system_;
};

Result<void> write_file(int directory, std::string_view text, const Owner& owner) {
    const UniqueFd fd(::openat(directory, kName, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode));
    // Whatever the runtime's umask is.
    if (!fd || ::fchmod(fd.get(), kFileMode) != 0 || ::fchown(fd.get(), owner.uid, owner.gid) != 0) {
        return fail_errno(errno, "make a file for the container");
    }
    if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
        return fail_errno(errno, "write a file for the container");
    }
    return {};
}

}  // namespace

Result<void> mount_private_file(std::string_view text, const Owner& owner, int target, int directory) {
    const Standing standing = NK_TRY(Standing::on(directory, NK_TRY(make_file_system())));
    NK_TRY(write_file(standing.fd(), text, owner));
    const UniqueFd file(::open_tree(standing.fd(), kName, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    if (!file) {
        return fail_errno(errno, "mount a file a second time");
    }
    return move_mount_to(file.get(), target);
}

}  // namespace netkitd::hook
