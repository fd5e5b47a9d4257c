// The daemon's side of the protocol: accepts connections, reads one request from each, answers, closes.
//
// One thread, the daemon's event loop: nothing here ever blocks. A connection waits for its request without costing
// anybody else; after `deadline` it is told so and closed. The reply needs no waiting: the first message on a
// connection always fits into the peer's empty queue (a long one goes as a memory file), where it stays for the peer to
// read even after our end is closed. The handler runs to its end before the next request is looked at: requests are
// serialised.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <optional>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "base/unique_fd.h"
#include "event/event_loop.h"
#include "ipc/listen_socket.h"
#include "ipc/protocol.h"

namespace netkitd::ipc {

// Who asks, as of its connect(2) (SO_PEERCRED, unix(7)). Always root.
struct Peer {
    pid_t pid = 0;
    uid_t uid = 0;
    gid_t gid = 0;
};

class Server {
public:
    using Handler = std::function<Result<nlohmann::json>(Request, const Peer&)>;
    struct Options {
        std::chrono::milliseconds deadline{5000};
        // When one more comes, the connection that has been silent for longest makes room.
        std::size_t max_connections = 256;
        // What went wrong with a connection (a malformed request, a peer that is not root, a reply that nobody took).
        // What the handler refuses is not among it: the handler knows.
        std::function<void(const Error&)> report = [](const Error&) {};
    };

    // The loop must outlive the server. Serves from the loop's next turn until destroyed.
    [[nodiscard]] static Result<std::unique_ptr<Server>> start(EventLoop& loop, ListenSocket socket, Handler handler,
                                                               Options options);
    ~Server() = default;
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    [[nodiscard]] std::size_t connection_count() const { return connections_.size(); }

private:
    struct Connection {
        UniqueFd socket;
        Peer peer;
        EventSource readable;
        EventSource deadline;
    };
    using Position = std::list<Connection>::iterator;

    Server(EventLoop& loop, ListenSocket socket, Handler handler, Options options);
    void accept_one();
    void pause_accepting();
    [[nodiscard]] Result<void> admit(UniqueFd socket);
    [[nodiscard]] Result<void> watch(Position position);
    void make_room();
    // False while the request has not come; otherwise the connection is answered and gone.
    bool serve(Position position);
    void expire(Position position);
    void answer(const Connection& connection, const Result<nlohmann::json>& result);
    [[nodiscard]] Result<nlohmann::json> handle(Request request, const Peer& peer);
    void close_unserved(Position position, Error why);

    EventLoop& loop_;
    ListenSocket socket_;
    Handler handler_;
    Options options_;
    std::list<Connection> connections_;  // oldest first; all of them wait for their request
    EventSource acceptable_;
    EventSource resume_;
};

}  // namespace netkitd::ipc
