// How soon the daemon looks at the host's network after it hears of a change: at once, as far as people can tell, but
// where one look takes long (hundreds of thousands of routes that change all the time) a part of the time alone.
#pragma once

#include <algorithm>
#include <chrono>

namespace netkitd {

class FollowPace {
public:
    using Clock = std::chrono::steady_clock;

    static constexpr std::chrono::milliseconds kDelay{100};
    static constexpr std::chrono::milliseconds kDelayMost{10'000};

    [[nodiscard]] std::chrono::milliseconds delay(Clock::time_point now) const {
        return std::max(std::chrono::duration_cast<std::chrono::milliseconds>(not_before_ - now), kDelay);
    }
    void looked(Clock::time_point begun, Clock::time_point ended) {
        not_before_ = ended + std::min<Clock::duration>(kPauses * (ended - begun), kDelayMost);
    }

private:
    static constexpr int kPauses = 5;  // for each look, as long as that

    Clock::time_point not_before_{};
};

}  // namespace netkitd
