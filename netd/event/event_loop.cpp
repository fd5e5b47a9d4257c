#include "event/event_loop.h"

#include <sys/epoll.h>

#include <algorithm>
#include <csignal>
#include <utility>

namespace netkitd {
namespace {

struct Callback {
    std::function<void()> function;
};

void destroy_callback(void* callback) {
    std::unique_ptr<Callback>(static_cast<Callback*>(callback)).reset();
}

// sd-event disables a source whose handler fails; ours report their errors themselves.
int on_io(sd_event_source* /*source*/, int /*fd*/, std::uint32_t /*events*/, void* callback) {
    static_cast<Callback*>(callback)->function();
    return 0;
}

int on_signal_event(sd_event_source* /*source*/, const signalfd_siginfo* /*info*/, void* callback) {
    static_cast<Callback*>(callback)->function();
    return 0;
}

int on_time(sd_event_source* source, std::uint64_t /*usec*/, void* callback) {
    // A callback may destroy its own source: the reference keeps it until it returns.
    sd_event_source_ref(source);
    static_cast<Callback*>(callback)->function();
    sd_event_source_unref(source);
    return 0;
}

}  // namespace

void EventSource::Closer::operator()(sd_event_source* source) const {
    sd_event_source_disable_unref(source);
}

void EventLoop::Closer::operator()(sd_event* event) const {
    sd_event_unref(event);
}

Result<EventLoop> EventLoop::create() {
    sd_event* event = nullptr;
    if (const int error = sd_event_new(&event); error < 0) {
        return fail_errno(-error, "make the event loop");
    }
    return EventLoop(event);
}

namespace {

// Hands the callback over to the source, which frees it.
Result<sd_event_source*> own(int added, sd_event_source* source, std::unique_ptr<Callback> callback,
                             std::string_view what) {
    if (added < 0) {
        return fail_errno(-added, "{}", what);
    }
    sd_event_source_set_userdata(source, callback.release());
    sd_event_source_set_destroy_callback(source, destroy_callback);
    return source;
}

}  // namespace

Result<EventSource> EventLoop::on_readable(int fd, std::function<void()> callback) {
    auto data = std::make_unique<Callback>(std::move(callback));
    sd_event_source* source = nullptr;
    const int added = sd_event_add_io(event_.get(), &source, fd, EPOLLIN, on_io, data.get());
    return EventSource(NK_TRY(own(added, source, std::move(data), "watch a descriptor")));
}

Result<EventSource> EventLoop::on_signal(int signal, std::function<void()> callback) {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, signal);
    if (pthread_sigmask(SIG_BLOCK, &mask, nullptr) != 0) {
        return fail_errno(errno, "block signal {}", signal);
    }
    auto data = std::make_unique<Callback>(std::move(callback));
    sd_event_source* source = nullptr;
    const int added = sd_event_add_signal(event_.get(), &source, signal, on_signal_event, data.get());
    return EventSource(NK_TRY(own(added, source, std::move(data), "watch a signal")));
}

Result<EventSource> EventLoop::once_after(std::chrono::microseconds delay, std::function<void()> callback) {
    auto data = std::make_unique<Callback>(std::move(callback));
    sd_event_source* source = nullptr;
    // Left to itself, sd-event may be a quarter of a second late (sd_event_add_time(3)).
    constexpr std::int64_t kParts = 8;
    const auto accuracy = static_cast<std::uint64_t>(std::max<std::int64_t>(1, delay.count() / kParts));
    const int added =
        sd_event_add_time_relative(event_.get(), &source, CLOCK_MONOTONIC, static_cast<std::uint64_t>(delay.count()),
                                   accuracy, on_time, data.get());
    return EventSource(NK_TRY(own(added, source, std::move(data), "set a timer")));
}

Result<void> EventLoop::run() {
    if (const int error = sd_event_set_watchdog(event_.get(), 1); error < 0) {
        return fail_errno(-error, "answer the watchdog");
    }
    if (const int error = sd_event_loop(event_.get()); error < 0) {
        return fail_errno(-error, "run the event loop");
    }
    return {};
}

void EventLoop::quit() {
    sd_event_exit(event_.get(), 0);
}

}  // namespace netkitd
