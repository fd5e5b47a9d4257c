#include "endpoint/host_name.h"

#include <gtest/gtest.h>

#include <regex>

namespace netkitd {
namespace {

bool has_the_form(const std::string& name) {
    return std::regex_match(name, std::regex("nk[0-9a-f]{8}"));
}

TEST(HostName, IsNkAndEightHexDigitsOfTheContainersId) {
    const std::string name = host_device_name("0123456789abcdef", 0);
    EXPECT_TRUE(has_the_form(name)) << name;
    EXPECT_EQ(name, host_device_name("0123456789abcdef", 0));
    EXPECT_NE(name, host_device_name("0123456789abcdee", 0));
}

TEST(HostName, HasAnotherNameForEveryAttempt) {
    EXPECT_NE(host_device_name("web", 0), host_device_name("web", 1));
    EXPECT_NE(host_device_name("web", 1), host_device_name("web", 2));
    EXPECT_TRUE(has_the_form(host_device_name("web", 15)));
}

}  // namespace
}  // namespace netkitd
