// The packet builder itself: what the other tests of this suite stand on.
#include "harness/packet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace netkitd::test {
namespace {

using ::testing::HasSubstr;

TEST(Packet, ChecksumsAreThoseOfTheRfcs) {
    const Bytes example{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    EXPECT_EQ(internet_checksum(example), 0x220d) << "the example of RFC 1071, 3: sum ddf2";
}

TEST(Packet, DescribesWhatWasBuilt) {
    const std::string text = describe(Packet().ip("10.77.0.2", "198.51.100.1").tcp(50000, 443).syn().bytes());
    EXPECT_THAT(text, HasSubstr("ipv4 10.77.0.2 > 198.51.100.1 ttl 64"));
    EXPECT_THAT(text, HasSubstr("tcp 50000 > 443 SYN header 5, checksum ok"));
    EXPECT_THAT(text, Not(HasSubstr("BAD")));
}

TEST(Packet, AChangedByteShowsAsABadChecksum) {
    Bytes frame = Packet().ip("10.77.0.2", "198.51.100.1").udp(50000, 53).payload("query").bytes();
    frame.back() ^= 1;
    EXPECT_THAT(describe(frame), HasSubstr("udp 50000 > 53 length 13, checksum BAD"));
    frame[22]--;
    EXPECT_THAT(describe(frame), HasSubstr("fragment 0x0, checksum BAD"));
}

TEST(Packet, UdpChecksumThatComesOutAsZeroIsSentAsOnes) {
    for (unsigned port = 1; port < 0x10000; port++) {
        const Bytes frame = Packet().ip("10.77.0.2", "198.51.100.1").udp(static_cast<std::uint16_t>(port), 53).bytes();
        EXPECT_FALSE(frame[40] == 0 && frame[41] == 0) << "port " << port;
    }
}

}  // namespace
}  // namespace netkitd::test
