#include "datapath/address.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>

namespace netkitd::datapath {
namespace {

using ::testing::ElementsAre;

IpAddr ip(std::string_view text) {
    return IpAddr::parse(text).value();
}

TEST(NkAddr, HasIpv4InItsFirstWord) {
    EXPECT_THAT(to_nk_addr(ip("10.77.0.2")).word, ElementsAre(htonl(0x0a4d0002), 0, 0, 0));
}

TEST(NkAddr, HasIpv6InAllWords) {
    EXPECT_THAT(to_nk_addr(ip("2001:db8:1:2:3:4:5:6")).word,
                ElementsAre(htonl(0x20010db8), htonl(0x00010002), htonl(0x00030004), htonl(0x00050006)));
}

TEST(NkAddr, IsTheSameAddressAgain) {
    for (const char* text :
         {"0.0.0.0", "10.77.0.2", "255.255.255.255", "::", "::1", "fd6e:6b64::2", "::ffff:10.77.0.2"}) {
        EXPECT_EQ(to_ip_addr(to_nk_addr(ip(text)), ip(text).family()), ip(text)) << text;
    }
}

}  // namespace
}  // namespace netkitd::datapath
