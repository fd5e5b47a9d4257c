#include "daemon/listen.h"

#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "daemon/requests.h"

namespace netkitd {
namespace {

Result<std::unique_ptr<ipc::Server>> start(EventLoop& loop, ipc::ListenSocket socket, ipc::Server::Handler handler) {
    ipc::Server::Options server;
    server.report = [](const Error& error) { log(LogLevel::warning, "request: {}", error.message()); };
    return ipc::Server::start(loop, std::move(socket), std::move(handler), std::move(server));
}

}  // namespace

Result<ipc::ListenSocket> open_socket(const Options& options) {
    auto passed = NK_TRY(ipc::ListenSocket::from_systemd());
    return passed ? std::move(*passed) : ipc::ListenSocket::bind(options.socket_path);
}

Result<std::unique_ptr<ipc::Server>> listen(EventLoop& loop, ipc::ListenSocket socket, Node& node) {
    return start(loop, std::move(socket),
                 [&node](ipc::Request request, const ipc::Peer&) { return answer(node, std::move(request)); });
}

Result<std::unique_ptr<ipc::Server>> listen(EventLoop& loop, ipc::ListenSocket socket, Error why) {
    return start(loop, std::move(socket),
                 [why = std::move(why)](const ipc::Request&, const ipc::Peer&) -> Result<nlohmann::json> {
                     return std::unexpected(why);
                 });
}

}  // namespace netkitd
