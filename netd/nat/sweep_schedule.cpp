#include "nat/sweep_schedule.h"

#include <algorithm>

namespace netkitd::nat {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr nanoseconds kLongest = 5min;
// When something has begun, or was seen that is over sooner than the next walk would be: a look-up lives so long.
constexpr nanoseconds kSoonest = 3s;
// A walk takes a fraction of a second. Full before this long, and it is time for one; before so long, and there is no
// time to lose.
constexpr double kSecondsAhead = 5;
constexpr double kSecondsToLose = 0.75;
constexpr double kPressure = 0.5;
constexpr double kNearlyFull = 0.9;
constexpr nanoseconds kWhenFull = 2s;
constexpr double kEntriesPerFlow = 2;
// What came a moment ago says little: a machine that stood still for a while makes up for it.
constexpr double kMostFlowsPerSecond = 50'000;
constexpr milliseconds kSeldom = 1s;
constexpr milliseconds kOften = 50ms;
constexpr milliseconds kMeasure = kOften;
// A walk looks at every entry: for less than this part of the table it is not worth while.
constexpr double kWorthAWalk = 1.0 / 8;

double seconds(nanoseconds time) {
    return std::chrono::duration<double>(time).count();
}

// However briefly things live, an unhurried walk comes no sooner.
nanoseconds shortest_interval(const FlowLifetimes& lifetimes) {
    const nanoseconds shortest = std::min({lifetimes.fresh, lifetimes.tcp_established, lifetimes.tcp_half_closed,
                                           lifetimes.tcp_closed, lifetimes.udp, lifetimes.icmp, lifetimes.sctp});
    return std::clamp<nanoseconds>(shortest, 1s, 10s);
}

nanoseconds soonest_interval(const FlowLifetimes& lifetimes) {
    return std::min(shortest_interval(lifetimes), kSoonest);
}

}  // namespace

nanoseconds closed_life(const FlowLifetimes& lifetimes, const FlowMapFill& fill) {
    const double free = std::clamp((1 - fill.ratio()) / (1 - kPressure), 0.0, 1.0);
    return std::chrono::duration_cast<nanoseconds>(std::chrono::duration<double>(lifetimes.tcp_closed) * free);
}

bool SweepSchedule::is_due(nanoseconds now, const Load& load, const FlowLifetimes& lifetimes) {
    free_ = std::max(0.0, static_cast<double>(load.fullest.capacity) - static_cast<double>(load.fullest.entries));
    const bool moved = load.begun != begun_;
    begun_ = load.begun;
    moved_ = moved_ || moved;
    if (load.entries == 0) {
        next_.reset();
        filling_ = false;
        return false;
    }
    // What a daemon that was started finds, nobody has looked through for a while.
    if (!next_) {
        next_ = last_walk_ ? now + soonest_interval(lifetimes) : now;
    }
    if (moved) {
        next_ = std::min(*next_, now + soonest_interval(lifetimes));
    }
    const bool somebody_waits = load.fullest.ratio() > kNearlyFull && now - last_walk_.value_or(now) >= kWhenFull;
    return is_due_before_it_is_full(now, load) || now >= *next_ || somebody_waits;
}

bool SweepSchedule::is_due_before_it_is_full(nanoseconds now, const Load& load) {
    if (!measured_ || now - *measured_ >= kMeasure) {
        begun_per_second_ =
            measured_ ? static_cast<double>(load.begun - begun_when_measured_) / seconds(now - *measured_) : 0;
        begun_when_measured_ = load.begun;
        measured_ = now;
    }
    const auto capacity = static_cast<double>(load.fullest.capacity);
    const double added = static_cast<double>(load.begun - begun_at_walk_) * kEntriesPerFlow;
    const double added_per_second = begun_per_second_ * kEntriesPerFlow;
    filling_ = load.fullest.ratio() > kPressure && added_per_second * kSecondsAhead > free_;
    return filling_ && (added_per_second * kSecondsToLose > free_ || added >= capacity * kWorthAWalk);
}

milliseconds SweepSchedule::until_the_next_question() const {
    // Twice in the time that it takes at least, so that a rate is known when there is still half of it.
    const std::chrono::duration<double> half(free_ / (kMostFlowsPerSecond * kEntriesPerFlow) / 2);
    return filling_ ? kOften : std::clamp(std::chrono::duration_cast<milliseconds>(half), kOften, kSeldom);
}

void SweepSchedule::walked(nanoseconds now, std::uint64_t removed, std::optional<nanoseconds> next_end,
                           const FlowLifetimes& lifetimes) {
    const nanoseconds shortest = shortest_interval(lifetimes);
    interval_ = moved_ || removed > 0 ? shortest : std::clamp<nanoseconds>(interval_ * 2, shortest, kLongest);
    moved_ = false;
    begun_at_walk_ = begun_;
    last_walk_ = now;
    next_ = now + interval_;
    if (next_end && *next_end > now) {
        next_ = std::min(*next_, std::max(*next_end, now + soonest_interval(lifetimes)));
    }
}

}  // namespace netkitd::nat
