#include "base/log.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace netkitd {
namespace {

std::string logged(LogLevel level, std::string_view message) {
    testing::internal::CaptureStderr();
    write_log(level, message);
    return testing::internal::GetCapturedStderr();
}

TEST(Log, SaysOnATerminalWhatKindOfLineItIs) {
    unsetenv("JOURNAL_STREAM");
    EXPECT_EQ(logged(LogLevel::error, "disk full"), "error: disk full\n");
    EXPECT_EQ(logged(LogLevel::info, "ready"), "ready\n");
}

TEST(Log, GivesTheJournalThePriority) {
    setenv("JOURNAL_STREAM", "8:1234", 1);
    EXPECT_EQ(logged(LogLevel::warning, "slow"), "<4>slow\n");
    unsetenv("JOURNAL_STREAM");
}

TEST(Log, TextFromOutsideCannotForgeALine) {
    EXPECT_EQ(logged(LogLevel::info, "id a\n<3>forged\x1b[2J"), "id a\n    <3>forged\\x1b[2J\n");
}

}  // namespace
}  // namespace netkitd
