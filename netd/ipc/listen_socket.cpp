#include "ipc/listen_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <filesystem>

#include "ipc/socket_address.h"

namespace netkitd::ipc {
namespace {

// The kernel cuts it to net.core.somaxconn (listen(2)).
constexpr int kBacklog = 4096;

Result<UniqueFd> new_socket() {
    UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) {
        return fail_errno(errno, "make a socket");
    }
    return fd;
}

// The folder of the socket, made if need be, and locked while the returned descriptor lives: of two daemons that start
// together, the second sees what the first has made.
Result<UniqueFd> locked_folder(const std::string& path) {
    const std::filesystem::path parent = std::filesystem::path(path).parent_path();
    const std::filesystem::path folder = parent.empty() ? "." : parent;
    std::error_code error;
    if (std::filesystem::create_directories(folder, error)) {
        using std::filesystem::perms;
        std::filesystem::permissions(
            folder, perms::owner_all | perms::group_read | perms::group_exec | perms::others_read | perms::others_exec,
            error);
    }
    if (error) {
        return fail_errno(error.value(), "make the folder {}", folder.string());
    }
    UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd || TEMP_FAILURE_RETRY(::flock(fd.get(), LOCK_EX)) != 0) {
        return fail_errno(errno, "lock the folder {}", folder.string());
    }
    return fd;
}

// Makes room for the socket: removes what a dead daemon has left, refuses anything else.
Result<void> remove_stale(const std::string& path, const SocketAddress& address) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0) {
        if (errno == ENOENT) {
            return {};
        }
        return fail_errno(errno, "look at {}", path);
    }
    if (!S_ISSOCK(status.st_mode)) {
        return fail(ErrorKind::refused, "{} is there and is not a socket: remove it, or choose another path", path);
    }
    const UniqueFd probe = NK_TRY(new_socket());
    // Anything but "refused" (EAGAIN: a full queue) means that somebody listens.
    if (::connect(probe.get(), address.get(), address.size()) == 0 || errno != ECONNREFUSED) {
        return fail(ErrorKind::refused, "another netkitd answers on {}: stop it, or choose another path", path);
    }
    if (::unlink(path.c_str()) != 0) {
        return fail_errno(errno, "remove the stale socket {}", path);
    }
    return {};
}

}  // namespace

Result<ListenSocket> ListenSocket::bind(const std::string& path) {
    const SocketAddress address = NK_TRY(SocketAddress::of_path(path));
    const UniqueFd folder = NK_TRY(locked_folder(path));
    NK_TRY(remove_stale(path, address));
    UniqueFd fd = NK_TRY(new_socket());
    // The mode of a Unix socket before bind becomes that of its file (net/unix/af_unix.c, unix_bind_bsd): no moment in
    // which others could connect, and no umask to change for the whole process.
    if (::fchmod(fd.get(), S_IRUSR | S_IWUSR) != 0 || ::bind(fd.get(), address.get(), address.size()) != 0) {
        return fail_errno(errno, "bind {}", path);
    }
    struct stat status{};
    if (::listen(fd.get(), kBacklog) != 0 || ::lstat(path.c_str(), &status) != 0) {
        return fail_errno(errno, "listen on {}", path);
    }
    return ListenSocket(std::move(fd), path, status.st_dev, status.st_ino);
}

Result<std::optional<ListenSocket>> ListenSocket::from_systemd() {
    const int count = ::sd_listen_fds(/*unset_environment=*/0);
    if (count < 0) {
        return fail_errno(-count, "read the sockets that systemd passed");
    }
    if (count == 0) {
        return std::nullopt;
    }
    // Its own descriptor, so that a second call gets one too.
    UniqueFd fd(::fcntl(SD_LISTEN_FDS_START, F_DUPFD_CLOEXEC, SD_LISTEN_FDS_START));
    if (count > 1 || ::sd_is_socket_unix(fd.get(), SOCK_SEQPACKET, /*listening=*/1, nullptr, 0) <= 0) {
        return fail(ErrorKind::invalid,
                    "systemd passed {} sockets; netkitd.socket must have one ListenSequentialPacket= and nothing else",
                    count);
    }
    const int flags = ::fcntl(fd.get(), F_GETFL);
    if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
        return fail_errno(errno, "make systemd's socket non-blocking");
    }
    return ListenSocket(std::move(fd), "", 0, 0);
}

ListenSocket::~ListenSocket() {
    struct stat status{};
    if (fd_ && !own_path_.empty() && ::lstat(own_path_.c_str(), &status) == 0 && status.st_dev == device_ &&
        status.st_ino == inode_) {
        ::unlink(own_path_.c_str());
    }
}

}  // namespace netkitd::ipc
