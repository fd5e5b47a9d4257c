#include "endpoint/host_name.h"

#include <gtest/gtest.h>

namespace netkitd {
namespace {

TEST(HostName, IsNkAndEightHexDigitsOfTheContainersId) {
    const std::string name = host_device_name("0123456789abcdef", 0);
    EXPECT_TRUE(is_host_device_name(name)) << name;
    EXPECT_EQ(name, host_device_name("0123456789abcdef", 0));
    EXPECT_NE(name, host_device_name("0123456789abcdee", 0));
}

TEST(HostName, HasAnotherNameForEveryAttempt) {
    EXPECT_NE(host_device_name("web", 0), host_device_name("web", 1));
    EXPECT_NE(host_device_name("web", 1), host_device_name("web", 2));
    EXPECT_TRUE(is_host_device_name(host_device_name("web", 15)));
}

TEST(HostName, LeavesOtherPeoplesDevicesAlone) {
    for (const char* name : {"eth0", "nk", "nk1234567", "nk123456789", "nkABCDEF01", "nk1234567g", "veth12345678"}) {
        EXPECT_FALSE(is_host_device_name(name)) << name;
    }
}

}  // namespace
}  // namespace netkitd
