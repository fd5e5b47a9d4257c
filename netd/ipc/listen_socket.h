// The socket the daemon listens on: its own, or the one systemd made for it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace netkitd::ipc {

// Listening and non-blocking. Removes the path in its destructor if it made it and it is still the one it made.
class ListenSocket {
public:
    // Binds `path` with mode 0600 (the folder, if missing, with 0755). A socket file that nobody answers on is
    // replaced; one that is answered, or a file that is no socket, is an error.
    [[nodiscard]] static Result<ListenSocket> bind(const std::string& path);
    // What systemd passed (sd_listen_fds(3)): nothing if the process was not started by a socket.
    [[nodiscard]] static Result<std::optional<ListenSocket>> from_systemd();

    ListenSocket(ListenSocket&& other) noexcept = default;
    ListenSocket& operator=(ListenSocket&&) = delete;
    ListenSocket(const ListenSocket&) = delete;
    ListenSocket& operator=(const ListenSocket&) = delete;
    ~ListenSocket();

    [[nodiscard]] int fd() const { return fd_.get(); }

private:
    ListenSocket(UniqueFd fd, std::string own_path, dev_t device, ino_t inode)
        : fd_(std::move(fd)), own_path_(std::move(own_path)), device_(device), inode_(inode) {}

    UniqueFd fd_;
    std::string own_path_;  // empty: systemd's, who keeps it
    dev_t device_ = 0;
    ino_t inode_ = 0;
};

}  // namespace netkitd::ipc
