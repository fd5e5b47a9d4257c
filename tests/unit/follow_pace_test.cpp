// How soon a change of the host's network is looked at.
#include "daemon/follow_pace.h"

#include <gtest/gtest.h>

namespace netkitd {
namespace {

using namespace std::chrono_literals;

const FollowPace::Clock::time_point kNow{1h};

TEST(FollowPace, IsQuickAtFirst) {
    EXPECT_EQ(FollowPace().delay(kNow), FollowPace::kDelay);
}

TEST(FollowPace, ALookThatIsShortDelaysNothing) {
    FollowPace pace;
    pace.looked(kNow - 2ms, kNow);
    EXPECT_EQ(pace.delay(kNow), FollowPace::kDelay);
}

TEST(FollowPace, OneThatTakesLongIsASixthOfTheTime) {
    FollowPace pace;
    pace.looked(kNow - 1s, kNow);
    EXPECT_EQ(pace.delay(kNow), 5s);
    EXPECT_EQ(pace.delay(kNow + 2s), 3s);
}

TEST(FollowPace, AfterAQuietTimeItIsQuickAgain) {
    FollowPace pace;
    pace.looked(kNow - 1s, kNow);
    EXPECT_EQ(pace.delay(kNow + 1min), FollowPace::kDelay);
}

TEST(FollowPace, NothingDelaysItForLong) {
    FollowPace pace;
    pace.looked(kNow - 1min, kNow);
    EXPECT_EQ(pace.delay(kNow), FollowPace::kDelayMost);
}

}  // namespace
}  // namespace netkitd
