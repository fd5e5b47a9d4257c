// netkitd: the node on an event loop, behind a socket, under systemd.
//
// The loop waits for requests, kernel notifications, processes that end, and time. Stopping leaves everything in the
// kernel as it is: traffic flows, and the next start takes it up.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "daemon/follow_pace.h"
#include "daemon/node.h"
#include "daemon/options.h"
#include "daemon/process_watcher.h"
#include "event/event_loop.h"
#include "ipc/server.h"
#include "netlink/monitor.h"

namespace netkitd {

class Daemon {
public:
    [[nodiscard]] static Result<std::unique_ptr<Daemon>> start(const Options& options, Config config);
    // Until SIGTERM or SIGINT.
    [[nodiscard]] Result<void> run();

private:
    Daemon(Options options, EventLoop loop, link::Monitor monitor);
    [[nodiscard]] Result<void> watch_signals();
    void read_monitor();
    // An endpoint's own device comes with several events and changes nothing about the node.
    [[nodiscard]] bool concerns_network(const link::LinkEvent& event) const;
    // Notifications come in bursts: the network is looked at once, a moment after the first.
    void follow_network_soon();
    // Something of an endpoint or of the node may be missing: looked at a moment later, unless it went with its device.
    void repair_soon(std::uint32_t ifindex);
    void repair();
    // Sets `timer`, unless it is set.
    void soon(EventSource& timer, std::chrono::milliseconds delay, std::function<void()> callback);
    void set(EventSource& timer, std::chrono::milliseconds delay, std::function<void()> callback);
    void sweep_flows();
    // Looks at everything, and sets the timer for the next look.
    void resync();
    void plan_resync();
    void reload();

    Options options_;
    EventLoop loop_;
    ProcessWatcher watcher_;
    link::Monitor monitor_;
    std::unique_ptr<Node> node_;
    std::unique_ptr<ipc::Server> server_;
    std::set<std::uint32_t> damaged_;  // ifindexes
    EventSource monitor_source_;
    EventSource follow_timer_;
    FollowPace follow_pace_;
    bool notifications_lost_ = false;
    EventSource repair_timer_;
    EventSource sweep_timer_;
    EventSource resync_timer_;
    std::chrono::seconds retry_delay_;
    EventSource terminate_;
    EventSource interrupt_;
    EventSource hangup_;
};

// The configuration that `options` name; a missing default file is the default configuration.
[[nodiscard]] Result<Config> read_config(const Options& options);

}  // namespace netkitd
