// The daemon's socket, systemd's or one of its own, and who answers there.
#pragma once

#include <memory>

#include "base/result.h"
#include "daemon/node.h"
#include "daemon/options.h"
#include "event/event_loop.h"
#include "ipc/listen_socket.h"
#include "ipc/server.h"

namespace netkitd {

// Whoever connects from now on waits until somebody answers.
[[nodiscard]] Result<ipc::ListenSocket> open_socket(const Options& options);

// Borrows the node for the server's life.
[[nodiscard]] Result<std::unique_ptr<ipc::Server>> listen(EventLoop& loop, ipc::ListenSocket socket, Node& node);
// While there is no node: each request is refused with the same error.
[[nodiscard]] Result<std::unique_ptr<ipc::Server>> listen(EventLoop& loop, ipc::ListenSocket socket, Error why);

}  // namespace netkitd
