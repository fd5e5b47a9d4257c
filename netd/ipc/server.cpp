#include "ipc/server.h"

#include <poll.h>
#include <sys/socket.h>

#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

#include "ipc/message.h"

namespace netkitd::ipc {
namespace {

// Long enough for somebody to give descriptors back, short enough for a hook's deadline.
constexpr std::chrono::milliseconds kPauseWithoutDescriptors{100};

Result<Peer> peer_of(int socket) {
    ucred credentials{};
    socklen_t size = sizeof(credentials);
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
        return fail_errno(errno, "ask who connected");
    }
    return Peer{.pid = credentials.pid, .uid = credentials.uid, .gid = credentials.gid};
}

std::string describe(const Peer& peer) {
    return formatted("request of process {} (uid {})", peer.pid, peer.uid);
}

// Both directions are closed: nobody will read a reply. (A peer that has only ended its sending side still reads.)
bool has_left(int socket) {
    pollfd state{.fd = socket, .events = 0, .revents = 0};
    return ::poll(&state, 1, 0) > 0 && (static_cast<unsigned>(state.revents) & (POLLHUP | POLLERR)) != 0;
}

}  // namespace

Server::Server(EventLoop& loop, ListenSocket socket, Handler handler, Options options)
    : loop_(loop), socket_(std::move(socket)), handler_(std::move(handler)), options_(std::move(options)) {}

Result<std::unique_ptr<Server>> Server::start(EventLoop& loop, ListenSocket socket, Handler handler, Options options) {
    std::unique_ptr<Server> server(new Server(loop, std::move(socket), std::move(handler), std::move(options)));
    server->acceptable_ = NK_TRY(loop.on_readable(server->socket_.fd(), [self = server.get()] { self->accept_one(); }));
    return server;
}

void Server::accept_one() {
    UniqueFd socket(::accept4(socket_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
        const int error = errno;
        // accept(2): these are of the one connection that has just gone away.
        if (error == EAGAIN || error == EINTR || error == ECONNABORTED) {
            return;
        }
        options_.report(Error(ErrorKind::exhausted,
                              formatted("accept a connection: {}", std::generic_category().message(error)), error));
        pause_accepting();
        return;
    }
    if (auto admitted = admit(std::move(socket)); !admitted) {
        options_.report(admitted.error());
    }
}

// The connection stays in the queue: without a pause the loop would spin on it.
void Server::pause_accepting() {
    acceptable_ = {};
    auto timer = loop_.once_after(kPauseWithoutDescriptors, [this] {
        if (auto source = loop_.on_readable(socket_.fd(), [this] { accept_one(); })) {
            acceptable_ = *std::move(source);
        } else {
            options_.report(source.error());
            pause_accepting();
        }
    });
    if (!timer) {
        options_.report(timer.error());
        return;
    }
    resume_ = *std::move(timer);
}

Result<void> Server::admit(UniqueFd socket) {
    const Peer peer = NK_TRY(peer_of(socket.get()));
    Connection connection{.socket = std::move(socket), .peer = peer, .readable = {}, .deadline = {}};
    if (peer.uid != 0) {
        auto refusal = fail(ErrorKind::refused, "{}: only root may ask netkitd", describe(peer));
        answer(connection, refusal);
        return refusal;
    }
    make_room();
    connections_.push_back(std::move(connection));
    const Position position = std::prev(connections_.end());
    auto watched = watch(position);
    if (!watched) {
        answer(*position, std::unexpected(watched.error()));
        connections_.erase(position);
    }
    return watched;
}

Result<void> Server::watch(Position position) {
    position->readable = NK_TRY(loop_.on_readable(position->socket.get(), [this, position] { serve(position); }));
    position->deadline = NK_TRY(loop_.once_after(options_.deadline, [this, position] { expire(position); }));
    return {};
}

void Server::make_room() {
    while (connections_.size() >= options_.max_connections) {
        // Its request may have come without our having looked yet: then it is served, not sent away.
        const Position oldest = connections_.begin();
        if (!serve(oldest)) {
            close_unserved(oldest,
                           Error(ErrorKind::unavailable,
                                 formatted("{} connections are open and this one was silent for longest: try again",
                                           connections_.size())));
        }
    }
}

bool Server::serve(Position position) {
    auto message = receive_message(position->socket.get());
    if (!message && message.error().system_error() == EAGAIN) {
        return false;
    }
    // Off the list first: whatever the handler does, this connection has had its turn.
    std::list<Connection> served;
    served.splice(served.begin(), connections_, position);
    const Connection& connection = served.front();
    if (message && !*message) {
        return true;  // it left without a word
    }
    auto request = message ? decode_request((*message)->text, std::move((*message)->descriptors))
                           : Result<Request>(std::unexpected(std::move(message).error()));
    if (!request) {
        options_.report(Error(request.error()).context(describe(connection.peer)));
        answer(connection, std::unexpected(std::move(request).error()));
        return true;
    }
    // A hook that was killed: its container does not start, so an endpoint would be nobody's. A detach is still wanted.
    if (request->operation != Operation::detach && has_left(connection.socket.get())) {
        options_.report(
            Error(ErrorKind::unavailable, "it has left before its turn").context(describe(connection.peer)));
        return true;
    }
    answer(connection, handle(*std::move(request), connection.peer));
    return true;
}

Result<nlohmann::json> Server::handle(Request request, const Peer& peer) {
    // The caller is sd-event, which is C: an exception must not get there.
    try {
        return handler_(std::move(request), peer);
    } catch (const std::exception& error) {
        return fail(ErrorKind::internal, "netkitd could not handle the request: {}", error.what());
    }
}

void Server::expire(Position position) {
    if (!serve(position)) {
        close_unserved(position,
                       Error(ErrorKind::unavailable, formatted("no request came within {}", options_.deadline)));
    }
}

void Server::close_unserved(Position position, Error why) {
    options_.report(Error(why).context(describe(position->peer)));
    answer(*position, std::unexpected(std::move(why)));
    connections_.erase(position);
}

void Server::answer(const Connection& connection, const Result<nlohmann::json>& result) {
    if (auto sent = send_reply(connection.socket.get(), encode_reply(result)); !sent) {
        options_.report(Error(sent.error()).context(formatted("{}: the reply", describe(connection.peer))));
        // A peer that is still there learns that there was a reply, and why it does not have it.
        if (result && sent.error().system_error() != EPIPE) {
            answer(connection, std::unexpected(std::move(sent).error()));
        }
    }
}

}  // namespace netkitd::ipc
