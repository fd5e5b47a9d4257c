#include "base/quote.h"

#include <gtest/gtest.h>

namespace netkitd {
namespace {

TEST(Quote, LeavesPlainTextReadable) {
    EXPECT_EQ(quote("web-1.example"), "'web-1.example'");
}

TEST(Quote, ShowsBytesATerminalWouldActOn) {
    EXPECT_EQ(quote("a\x1b[2J\n\\"), R"('a\x1b[2J\x0a\x5c')");
    EXPECT_EQ(quote("\xff\xc3\xa4"), R"('\xff\xc3\xa4')");
    EXPECT_EQ(quote(std::string_view("a\0b", 3)), R"('a\x00b')");
}

TEST(Quote, CutsLongText) {
    EXPECT_EQ(quote(std::string(1'000'000, 'x')), "'" + std::string(64, 'x') + "…'");
}

}  // namespace
}  // namespace netkitd
