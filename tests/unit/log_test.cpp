#include "base/log.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

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
    testing::internal::CaptureStderr();
    struct stat journal{};
    ASSERT_EQ(::fstat(STDERR_FILENO, &journal), 0);
    setenv("JOURNAL_STREAM", formatted("{}:{}", journal.st_dev, journal.st_ino).c_str(), 1);
    write_log(LogLevel::warning, "slow");
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "<4>slow\n");
    EXPECT_EQ(logged(LogLevel::warning, "slow"), "warning: slow\n") << "inherited, and somebody reads it";
    unsetenv("JOURNAL_STREAM");
}

TEST(Log, TextFromOutsideCannotForgeALine) {
    EXPECT_EQ(logged(LogLevel::info, "id a\n<3>forged\x1b[2J"), "id a\n    <3>forged\\x1b[2J\n");
}

}  // namespace
}  // namespace netkitd
