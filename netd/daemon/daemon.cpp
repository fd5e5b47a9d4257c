#include "daemon/daemon.h"

#include <systemd/sd-daemon.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "base/log.h"
#include "daemon/listen.h"
#include "link/device.h"

namespace netkitd {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kRepairDelay = 100ms;
constexpr std::chrono::seconds kResyncInterval = 60s;
constexpr std::chrono::seconds kFirstRetry = 1s;

}  // namespace

Daemon::Daemon(Options options, EventLoop loop, link::Monitor monitor)
    : options_(std::move(options)),
      loop_(std::move(loop)),
      watcher_(loop_, [this](const std::string& id) { node_->endpoints().process_exited(id); }),
      monitor_(std::move(monitor)),
      retry_delay_(kFirstRetry) {}

Result<std::unique_ptr<Daemon>> Daemon::start(const Options& options, Config config) {
    // The monitor is open before the node looks at the host, so that no change falls between.
    EventLoop loop = NK_TRY(EventLoop::create());
    link::Monitor monitor = NK_TRY(link::Monitor::open());
    std::unique_ptr<Daemon> daemon(new Daemon(options, std::move(loop), std::move(monitor)));
    std::optional<ipc::ListenSocket> socket;
    daemon->node_ = NK_TRY(Node::start(options, std::move(config), daemon->watcher_, [&]() -> Result<void> {
        socket.emplace(NK_TRY(open_socket(options)));
        return {};
    }));
    NK_TRY(daemon->watch_signals());
    daemon->sweep_flows();
    daemon->plan_resync();
    daemon->monitor_source_ =
        NK_TRY(daemon->loop_.on_readable(daemon->monitor_.fd(), [d = daemon.get()] { d->read_monitor(); }));
    daemon->server_ = NK_TRY(listen(daemon->loop_, std::move(*socket), *daemon->node_));
    return daemon;
}

Result<void> Daemon::run() {
    sd_notify(0, "READY=1");
    log(LogLevel::info, "ready: {} endpoints, device mode {}", node_->endpoints().endpoints().size(),
        link::to_string(node_->device_mode().modes.active));
    if (!node_->device_mode().reason.empty()) {
        log(LogLevel::warning, "{}", node_->device_mode().reason);
    }
    const Result<void> result = loop_.run();
    sd_notify(0, "STOPPING=1");
    node_->keep_database();
    log(LogLevel::info, "stopping; {} endpoints go on without the daemon", node_->endpoints().endpoints().size());
    return result;
}

Result<void> Daemon::watch_signals() {
    terminate_ = NK_TRY(loop_.on_signal(SIGTERM, [this] { loop_.quit(); }));
    interrupt_ = NK_TRY(loop_.on_signal(SIGINT, [this] { loop_.quit(); }));
    hangup_ = NK_TRY(loop_.on_signal(SIGHUP, [this] { reload(); }));
    return {};
}

void Daemon::read_monitor() {
    const auto events = monitor_.read();
    if (!events) {
        node_->errors().report("read kernel notifications", events.error());
        return;
    }
    bool network_changed = false;
    for (const link::LinkEvent& event : *events) {
        network_changed = network_changed || concerns_network(event);
        switch (event.kind) {
            case link::LinkEvent::Kind::device_removed:
                node_->device_removed(event.ifindex);
                break;
            case link::LinkEvent::Kind::overrun:
                if (!std::exchange(notifications_lost_, true)) {
                    log(LogLevel::notice, "kernel notifications were lost: reading everything again");
                }
                break;
            case link::LinkEvent::Kind::device_down:
            case link::LinkEvent::Kind::own_route_removed:
            case link::LinkEvent::Kind::address_removed:
                repair_soon(event.ifindex);
                break;
            case link::LinkEvent::Kind::forwarding_off:
                // A container's device says so when it is made, and needs none.
                if (event.ifindex == node_->network().host_device()) {
                    repair_soon(event.ifindex);
                }
                break;
            case link::LinkEvent::Kind::device_changed:
            case link::LinkEvent::Kind::address:
            case link::LinkEvent::Kind::route:
            case link::LinkEvent::Kind::forwarding_off_everywhere:
                break;
        }
    }
    if (network_changed) {
        follow_network_soon();
    }
}

bool Daemon::concerns_network(const link::LinkEvent& event) const {
    switch (event.kind) {
        case link::LinkEvent::Kind::route:
        case link::LinkEvent::Kind::overrun:
        case link::LinkEvent::Kind::forwarding_off_everywhere:
            return true;
        case link::LinkEvent::Kind::device_removed:
        case link::LinkEvent::Kind::device_changed:
        case link::LinkEvent::Kind::device_down:
        case link::LinkEvent::Kind::address:
        case link::LinkEvent::Kind::address_removed:
            // What is done to netkitd0 is announced too: following that would never end. What others do to it is
            // repaired.
            return event.ifindex != node_->network().host_device() &&
                   !node_->endpoints().has_or_had_device(event.ifindex);
        case link::LinkEvent::Kind::forwarding_off:
        case link::LinkEvent::Kind::own_route_removed:
            return false;
    }
    return true;
}

void Daemon::follow_network_soon() {
    soon(follow_timer_, follow_pace_.delay(FollowPace::Clock::now()), [this] {
        const auto begun = FollowPace::Clock::now();
        if (std::exchange(notifications_lost_, false)) {
            node_->resync();
        } else {
            node_->follow_network();
        }
        follow_pace_.looked(begun, FollowPace::Clock::now());
        if (!node_->is_whole()) {
            plan_resync();
        }
    });
}

void Daemon::repair_soon(std::uint32_t ifindex) {
    damaged_.insert(ifindex);
    soon(repair_timer_, kRepairDelay, [this] { repair(); });
}

void Daemon::repair() {
    // What the node itself has is on netkitd0; an unreachable route has no device, or lo.
    const bool concerns_us = std::ranges::any_of(std::exchange(damaged_, {}), [this](std::uint32_t ifindex) {
        return ifindex <= link::kLoopbackIfindex || ifindex == node_->network().host_device() ||
               node_->endpoints().has_device(ifindex);
    });
    if (concerns_us) {
        resync();
    }
}

void Daemon::soon(EventSource& timer, std::chrono::milliseconds delay, std::function<void()> callback) {
    if (timer) {
        return;
    }
    set(timer, delay, [&timer, callback = std::move(callback)] {
        timer = {};
        callback();
    });
}

void Daemon::set(EventSource& timer, std::chrono::milliseconds delay, std::function<void()> callback) {
    auto source = loop_.once_after(delay, std::move(callback));
    if (source) {
        timer = std::move(*source);
    } else {
        node_->errors().report("set a timer", source.error());
    }
}

void Daemon::sweep_flows() {
    set(sweep_timer_, node_->sweep_flows(), [this] { sweep_flows(); });
}

void Daemon::resync() {
    node_->resync();
    plan_resync();
}

// What could not be mended is tried again soon, and then less and less often.
void Daemon::plan_resync() {
    if (node_->is_whole()) {
        retry_delay_ = kFirstRetry;
    }
    const auto delay = node_->is_whole() ? kResyncInterval : retry_delay_;
    retry_delay_ = std::min(2 * retry_delay_, kResyncInterval);
    set(resync_timer_, delay, [this] { resync(); });
}

void Daemon::reload() {
    sd_notify(0, "RELOADING=1");
    const Result<void> result =
        read_config(options_).and_then([this](const Config& c) { return node_->reconfigure(c); });
    node_->errors().record("reload the configuration", result);
    if (result) {
        log(LogLevel::info, "configuration read again");
    }
    sd_notify(0, "READY=1");
}

Result<Config> read_config(const Options& options) {
    std::error_code error;
    if (!options.config_required &&
        std::filesystem::symlink_status(options.config_path, error).type() == std::filesystem::file_type::not_found) {
        return default_config();
    }
    return load_config(options.config_path);
}

}  // namespace netkitd
