#include "daemon/listen.h"

#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "daemon/requests.h"
#include "ipc/listen_socket.h"

namespace netkitd {
namespace {

Result<std::unique_ptr<ipc::Server>> start(EventLoop& loop, const Options& options, ipc::Server::Handler handler) {
    auto passed = NK_TRY(ipc::ListenSocket::from_systemd());
    ipc::ListenSocket socket = passed ? std::move(*passed) : NK_TRY(ipc::ListenSocket::bind(options.socket_path));
    ipc::Server::Options server;
    server.report = [](const Error& error) { log(LogLevel::warning, "request: {}", error.message()); };
    return ipc::Server::start(loop, std::move(socket), std::move(handler), std::move(server));
}

}  // namespace

Result<std::unique_ptr<ipc::Server>> listen(EventLoop& loop, const Options& options, Node& node) {
    return start(loop, options,
                 [&node](ipc::Request request, const ipc::Peer&) { return answer(node, std::move(request)); });
}

Result<std::unique_ptr<ipc::Server>> listen(EventLoop& loop, const Options& options, Error why) {
    return start(loop, options,
                 [why = std::move(why)](const ipc::Request&, const ipc::Peer&) -> Result<nlohmann::json> {
                     return std::unexpected(why);
                 });
}

}  // namespace netkitd
