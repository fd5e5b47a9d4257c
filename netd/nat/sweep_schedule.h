// When the flow table is looked through: as seldom as possible, but before it is full.
//
// Decided from what is known without looking at a single flow: how many entries there are, and how many flows have
// begun. An empty table is never walked; what a daemon that was started finds is, at once. A walk that found nothing to
// forget is repeated after twice the time, up to five minutes (a connection that ends tells nobody), or when the first
// of the flows that it saw is over. New flows bring it forward, to when the first of them can be over; and while a
// table that is more than half full is filling up, there is one whenever as much has come since the last one as makes
// it worth while. One that is as good as full is walked every two seconds: somebody waits for room.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "config/flow_lifetimes.h"

namespace netkitd::nat {

// Of a map of which whoever has more than its share gets no more when it is full.
struct FlowMapFill {
    std::uint64_t entries = 0;
    std::uint64_t capacity = 0;
    [[nodiscard]] double ratio() const {
        return capacity == 0 ? 0 : static_cast<double>(entries) / static_cast<double>(capacity);
    }
};

// What ended connections may keep of their lifetime while the map fills up: from half full on less and less, and
// nothing when it is full. Others keep all of it: whoever fills the table hurts nobody else.
[[nodiscard]] std::chrono::nanoseconds closed_life(const FlowLifetimes& lifetimes, const FlowMapFill& fill);

class SweepSchedule {
public:
    struct Load {
        std::uint64_t entries = 0;  // of all flow maps
        std::uint64_t begun = 0;    // flows that were created, ever
        FlowMapFill fullest;
    };

    [[nodiscard]] bool is_due(std::chrono::nanoseconds now, const Load& load, const FlowLifetimes& lifetimes);
    // From one question to the next: before the table can be full, however fast flows begin from now on (up to 50,000 a
    // second), and soon while it is filling up.
    [[nodiscard]] std::chrono::milliseconds until_the_next_question() const;
    // After a walk. `next_end`: when the first of the flows that were left is over, as far as was seen.
    void walked(std::chrono::nanoseconds now, std::uint64_t removed, std::optional<std::chrono::nanoseconds> next_end,
                const FlowLifetimes& lifetimes);

private:
    [[nodiscard]] bool is_due_before_it_is_full(std::chrono::nanoseconds now, const Load& load);

    std::optional<std::chrono::nanoseconds> next_;
    std::chrono::nanoseconds interval_{};
    std::uint64_t begun_ = 0;
    bool moved_ = false;    // flows have begun since the last walk
    bool filling_ = false;  // when it was last asked about, the table was to be full within seconds,
    double free_ = 0;       // and had room for so many entries
    std::optional<std::chrono::nanoseconds> last_walk_;
    // The rate at which flows begin.
    std::optional<std::chrono::nanoseconds> measured_;
    std::uint64_t begun_when_measured_ = 0;
    double begun_per_second_ = 0;
    std::uint64_t begun_at_walk_ = 0;
};

}  // namespace netkitd::nat
