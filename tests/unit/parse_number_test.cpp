#include "base/parse_number.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace netkitd {
namespace {

TEST(ParseNumber, TakesDecimalDigits) {
    EXPECT_EQ(parse_number<unsigned>("0"), 0U);
    EXPECT_EQ(parse_number<unsigned>("1500"), 1500U);
    EXPECT_EQ(parse_number<unsigned>("007"), 7U);
    EXPECT_EQ(parse_number<std::uint64_t>("18446744073709551615"), UINT64_MAX);
}

TEST(ParseNumber, TakesNothingElse) {
    for (const std::string_view text : {"", " ", " 80", "80 ", "80\n", "+80", "-80", "-0", "0x50", "8e1", "80.",
                                        "80/tcp", "8_0", "eighty", "\xd9\xa8"}) {
        EXPECT_EQ(parse_number<unsigned>(text), std::nullopt) << "'" << text << "'";
    }
    EXPECT_EQ(parse_number<unsigned>(std::string_view("80\0", 3)), std::nullopt);
    EXPECT_EQ(parse_number<unsigned>(std::string_view()), std::nullopt);
}

TEST(ParseNumber, ReadsNoFurtherThanTheText) {
    EXPECT_EQ(parse_number<unsigned>(std::string_view("8080").substr(0, 2)), 80U);
}

TEST(ParseNumber, IsInTheRangeOfItsType) {
    EXPECT_EQ(parse_number<std::uint8_t>("255"), 255U);
    EXPECT_EQ(parse_number<std::uint8_t>("256"), std::nullopt);
    EXPECT_EQ(parse_number<std::uint16_t>("65535"), 65535U);
    EXPECT_EQ(parse_number<std::uint16_t>("65536"), std::nullopt);
    EXPECT_EQ(parse_number<std::uint64_t>("18446744073709551616"), std::nullopt);
    EXPECT_EQ(parse_number<std::uint16_t>("99999999999999999999999999"), std::nullopt);
}

TEST(ParseNumber, IsInTheGivenRange) {
    const auto mtu = [](std::string_view text) { return parse_number<std::uint32_t>(text, 1280, 65535); };
    EXPECT_EQ(mtu("1279"), std::nullopt);
    EXPECT_EQ(mtu("1280"), 1280U);
    EXPECT_EQ(mtu("65535"), 65535U);
    EXPECT_EQ(mtu("65536"), std::nullopt);
}

}  // namespace
}  // namespace netkitd
