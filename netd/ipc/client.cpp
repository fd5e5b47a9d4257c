#include "ipc/client.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "ipc/message.h"
#include "ipc/socket_address.h"

namespace netkitd::ipc {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

class Call {
public:
    Call(const std::string& path, milliseconds deadline)
        : path_(path), deadline_(deadline), end_(Clock::now() + deadline) {}

    Result<nlohmann::json> run(const Request& request) {
        const std::string text = NK_TRY(encode_request(request));
        NK_TRY(connect());
        NK_TRY(limit_blocking(SO_SNDTIMEO));
        // A server that turns us away (too busy, not root) answers without having read: its word counts, not our EPIPE.
        const auto sent = send_message(socket_.get(), text, descriptors_of(request));
        if (!sent && sent.error().system_error() != EPIPE && sent.error().system_error() != ECONNRESET) {
            return sent.error().system_error() == EAGAIN ? too_late() : std::unexpected(sent.error());
        }
        std::string reply = NK_TRY(receive());
        return decode_reply(reply);
    }

private:
    Result<void> connect() {
        const SocketAddress address = NK_TRY(SocketAddress::of_path(path_));
        socket_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        if (!socket_) {
            return fail_errno(errno, "make a socket");
        }
        // A full queue is waited for, as long as the send time-out says (unix_wait_for_peer in net/unix/af_unix.c).
        NK_TRY(limit_blocking(SO_SNDTIMEO));
        if (TEMP_FAILURE_RETRY(::connect(socket_.get(), address.get(), address.size())) == 0) {
            return {};
        }
        switch (errno) {
            case EAGAIN:
                return too_late();
            case ENOENT:
            case ECONNREFUSED:
                return fail(ErrorKind::unavailable,
                            "netkitd is not running (connect {}: {}): start it with `systemctl start netkitd`", path_,
                            std::generic_category().message(errno));
            case EACCES:
                return fail(ErrorKind::refused, "connect {}: {}: only root may ask netkitd", path_,
                            std::generic_category().message(errno));
            case EPROTOTYPE:
                return fail(ErrorKind::unavailable, "{} is a socket of another program, not netkitd's", path_);
            default:
                return fail_errno(errno, "connect {}", path_);
        }
    }

    Result<std::string> receive() {
        for (;;) {
            NK_TRY(wait_readable());
            auto message = receive_message(socket_.get());
            // An end that was closed with our request unread: the error comes first, the reply behind it.
            if (!message && message.error().system_error() == ECONNRESET && !reset_seen_) {
                reset_seen_ = true;
                continue;
            }
            if (message && *message) {
                return reply_text(**std::move(message));
            }
            return fail(ErrorKind::unavailable,
                        "netkitd closed the connection without a reply: its journal says why (journalctl -u netkitd)");
        }
    }

    Result<void> wait_readable() {
        pollfd state{.fd = socket_.get(), .events = POLLIN, .revents = 0};
        for (;;) {
            // Rounded up, so that the last millisecond does not spin.
            const int ready = ::poll(&state, 1, static_cast<int>(remaining().count()) + 1);
            if (ready > 0) {
                return {};
            }
            if (ready < 0 && errno != EINTR) {
                return fail_errno(errno, "wait for netkitd's reply");
            }
            if (remaining() <= milliseconds::zero()) {
                return too_late();
            }
        }
    }

    // Blocking calls on the socket end when the deadline does, with EAGAIN (socket(7)).
    Result<void> limit_blocking(int option) {
        // Zero would mean no limit.
        const auto left = std::max(remaining(), milliseconds(1));
        const timeval limit{.tv_sec = left.count() / 1000, .tv_usec = left.count() % 1000 * 1000};
        if (::setsockopt(socket_.get(), SOL_SOCKET, option, &limit, sizeof(limit)) != 0) {
            return fail_errno(errno, "set a time-out");
        }
        return {};
    }

    [[nodiscard]] milliseconds remaining() const {
        return std::max(std::chrono::duration_cast<milliseconds>(end_ - Clock::now()), milliseconds::zero());
    }

    [[nodiscard]] std::unexpected<Error> too_late() const {
        return fail(ErrorKind::unavailable, "netkitd did not answer within {} ms on {}: see `systemctl status netkitd`",
                    deadline_.count(), path_);
    }

    const std::string& path_;
    milliseconds deadline_;
    Clock::time_point end_;
    UniqueFd socket_;
    bool reset_seen_ = false;
};

}  // namespace

Result<nlohmann::json> call(const std::string& socket_path, const Request& request, milliseconds deadline) {
    return Call(socket_path, deadline).run(request);
}

}  // namespace netkitd::ipc
