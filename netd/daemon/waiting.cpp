#include "daemon/waiting.h"

#include <systemd/sd-daemon.h>

#include <chrono>
#include <csignal>

#include "base/log.h"
#include "daemon/listen.h"
#include "event/event_loop.h"

namespace netkitd {

bool may_pass(const Error& error) {
    return error.kind() == ErrorKind::exhausted || error.system_error() == ENOMEM;
}

Result<bool> wait_to_try_again(const Options& options, const Error& why) {
    constexpr std::chrono::seconds kDelay{10};
    log(LogLevel::warning, "not started, tried again in {} s: {}", kDelay.count(), why.message());
    EventLoop loop = NK_TRY(EventLoop::create());
    bool again = false;
    const EventSource terminate = NK_TRY(loop.on_signal(SIGTERM, [&] { loop.quit(); }));
    const EventSource interrupt = NK_TRY(loop.on_signal(SIGINT, [&] { loop.quit(); }));
    const auto try_again = [&] {
        again = true;
        loop.quit();
    };
    const EventSource hangup = NK_TRY(loop.on_signal(SIGHUP, try_again));
    const EventSource timer = NK_TRY(loop.once_after(kDelay, try_again));
    const auto server = NK_TRY(listen(loop, NK_TRY(open_socket(options)), why));
    // A service that is not ready in time would be ended by systemd.
    sd_notifyf(0, "READY=1\nSTATUS=%s", why.message().c_str());
    NK_TRY(loop.run());
    return again;
}

}  // namespace netkitd
