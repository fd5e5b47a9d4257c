#include "daemon/listen.h"

#include <optional>
#include <utility>

#include "base/log.h"
#include "ipc/listen_socket.h"

namespace netkitd {

Result<std::unique_ptr<ipc::Server>> listen(EventLoop& loop, const Options& options, ipc::Server::Handler handler) {
    auto passed = NK_TRY(ipc::ListenSocket::from_systemd());
    ipc::ListenSocket socket = passed ? std::move(*passed) : NK_TRY(ipc::ListenSocket::bind(options.socket_path));
    ipc::Server::Options server;
    server.report = [](const Error& error) { log(LogLevel::warning, "request: {}", error.message()); };
    return ipc::Server::start(loop, std::move(socket), std::move(handler), std::move(server));
}

}  // namespace netkitd
