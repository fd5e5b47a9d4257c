// The daemon's one event loop: sd-event behind values and callables.
#pragma once

#include <systemd/sd-event.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.h"

namespace netkitd {

// Keeps a callback registered for as long as it lives. Movable; may be destroyed inside its own callback.
class EventSource {
public:
    EventSource() = default;
    [[nodiscard]] explicit operator bool() const { return source_ != nullptr; }

private:
    friend class EventLoop;
    struct Closer {
        void operator()(sd_event_source* source) const;
    };
    explicit EventSource(sd_event_source* source) : source_(source) {}
    std::unique_ptr<sd_event_source, Closer> source_;
};

class EventLoop {
public:
    [[nodiscard]] static Result<EventLoop> create();

    // Borrowed.
    [[nodiscard]] sd_event* get() const { return event_.get(); }

    // `fd` stays the caller's and must outlive the source.
    [[nodiscard]] Result<EventSource> on_readable(int fd, std::function<void()> callback);
    // The signal is blocked in the calling thread first, as sd_event_add_signal(3) asks.
    [[nodiscard]] Result<EventSource> on_signal(int signal, std::function<void()> callback);
    [[nodiscard]] Result<EventSource> once_after(std::chrono::microseconds delay, std::function<void()> callback);

    // Until quit(). Answers systemd's watchdog when the service asks for it.
    [[nodiscard]] Result<void> run();
    void quit();

private:
    struct Closer {
        void operator()(sd_event* event) const;
    };
    explicit EventLoop(sd_event* event) : event_(event) {}
    std::unique_ptr<sd_event, Closer> event_;
};

}  // namespace netkitd
