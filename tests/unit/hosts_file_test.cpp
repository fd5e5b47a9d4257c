#include "oci/hosts_file.h"

#include <gtest/gtest.h>

namespace netkitd::hook {
namespace {

const std::vector<std::string> kAddresses{"10.77.0.2", "fd6e:6b64::2"};

TEST(HostsFile, TheContainersNameIsAtItsOwnAddresses) {
    EXPECT_EQ(with_own_addresses("127.0.0.1\tlocalhost\n"
                                 "192.0.2.9\tdb # by --add-host\n"
                                 "127.0.0.1\t0123456789ab web\n",
                                 "0123456789ab", kAddresses),
              "127.0.0.1\tlocalhost\n"
              "192.0.2.9\tdb # by --add-host\n"
              "10.77.0.2\t0123456789ab web\n"
              "fd6e:6b64::2\t0123456789ab web\n");
    EXPECT_EQ(with_own_addresses("::1 web\n127.0.1.1 web", "web", {"10.77.0.2"}), "10.77.0.2\tweb\n")
        << "however often it is there";
}

TEST(HostsFile, WhatIsNotAboutTheContainerStays) {
    for (const char* hosts :
         {"", "127.0.0.1 localhost web\n", "192.0.2.1 web\n", "# 127.0.0.1 web\n", "127.0.0.1 webs\n", "127.0.0.1\n"}) {
        EXPECT_EQ(with_own_addresses(hosts, "web", kAddresses), std::nullopt) << hosts;
    }
    EXPECT_EQ(with_own_addresses("127.0.0.1 web\n", "web", {}), std::nullopt);
    EXPECT_EQ(with_own_addresses("127.0.0.1 \n", "", kAddresses), std::nullopt);
}

}  // namespace
}  // namespace netkitd::hook
