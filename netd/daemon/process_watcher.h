// Watches the containers' processes by their pidfds, on the event loop.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "endpoint/process_watch.h"
#include "event/event_loop.h"

namespace netkitd {

class ProcessWatcher final : public ProcessWatch {
public:
    // Borrows the loop for its life. `on_exit` is called on the loop, once per watch.
    ProcessWatcher(EventLoop& loop, std::function<void(const std::string&)> on_exit)
        : loop_(loop), on_exit_(std::move(on_exit)) {}

    Result<void> watch(const std::string& container_id, UniqueFd pidfd) override;
    void forget(const std::string& container_id) override { watched_.erase(container_id); }

private:
    struct Watched {
        UniqueFd pidfd;
        EventSource source;  // after the descriptor: it goes first
    };
    EventLoop& loop_;
    std::function<void(const std::string&)> on_exit_;
    std::map<std::string, Watched> watched_;
};

}  // namespace netkitd
