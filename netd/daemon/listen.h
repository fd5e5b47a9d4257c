// The daemon's socket: systemd's, or one of its own.
#pragma once

#include <memory>

#include "base/result.h"
#include "daemon/options.h"
#include "event/event_loop.h"
#include "ipc/server.h"

namespace netkitd {

[[nodiscard]] Result<std::unique_ptr<ipc::Server>> listen(EventLoop& loop, const Options& options,
                                                          ipc::Server::Handler handler);

}  // namespace netkitd
