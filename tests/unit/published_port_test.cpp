#include "base/published_port.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "base/format.h"

namespace netkitd {
namespace {

using testing::HasSubstr;

std::string parsed(std::string_view text) {
    const auto ports = parse_published_ports(text);
    return ports ? to_string(*ports) : ports.error().message();
}

TEST(PublishedPort, IsWrittenInManyWays) {
    EXPECT_EQ(parsed("8080:80"), "8080:80/tcp");
    EXPECT_EQ(parsed("53:5353/udp,8080:80/tcp"), "53:5353/udp,8080:80/tcp");
    EXPECT_EQ(parsed("203.0.113.7:80:8080"), "203.0.113.7:80:8080/tcp");
    EXPECT_EQ(parsed("[2001:db8::7]:443:8443/udp"), "[2001:db8::7]:443:8443/udp");
    EXPECT_EQ(parsed("9000-9002:9100-9102"), "9000:9100/tcp,9001:9101/tcp,9002:9102/tcp");
    EXPECT_EQ(parsed("3868:3868/sctp"), "3868:3868/sctp");
    EXPECT_EQ(parse_published_ports("1-1024:1-1024")->size(), kMaxPublishedPorts);
}

TEST(PublishedPort, WhatItSaysIsReadAgain) {
    const auto ports =
        parse_published_ports("[2001:db8::7]:443:8443/udp,203.0.113.7:80:8080;allow=192.0.2.7;hold=7,5000:5000/sctp");
    EXPECT_EQ(*parse_published_ports(to_string(*ports)), *ports);
}

TEST(PublishedPort, MaySayWhoMayCome) {
    EXPECT_EQ(parsed("8080:80/tcp;allow=2001:db8::/32+198.51.100.0/24+198.51.100.0/24"),
              "8080:80/tcp;allow=198.51.100.0/24+2001:db8::/32");
    EXPECT_EQ(parsed("80-81:80-81;allow=192.0.2.7,53:53/udp"),
              "53:53/udp,80:80/tcp;allow=192.0.2.7/32,81:81/tcp;allow=192.0.2.7/32");
    EXPECT_EQ(parse_published_ports("80:80;allow=192.0.2.7")->front().to_string(), "80:80/tcp");
    std::string many = "80:80;allow=192.0.2.0";
    for (std::size_t i = 1; i < kMaxAllowedSources; ++i) {
        many += formatted("+192.0.2.{}", i);
    }
    EXPECT_TRUE(parse_published_ports(many));
    EXPECT_TRUE(parse_published_ports(many + ",81:81;allow=192.0.2.0"));
    EXPECT_THAT(parsed(many + ",81:81;allow=192.0.2.99"), HasSubstr("a container may name 64"));
    EXPECT_TRUE(parse_published_ports("1-64:1-64" + many.substr(many.find(';'))));
    EXPECT_THAT(parsed("1-65:1-65" + many.substr(many.find(';'))), HasSubstr("have 4160 addresses and prefixes"));
}

TEST(PublishedPort, MaySayHowLongClientsWait) {
    EXPECT_EQ(parsed("8080:80;hold=10"), "8080:80/tcp;hold=10");
    EXPECT_EQ(parsed("80-81:80-81;hold=300;allow=192.0.2.7"),
              "80:80/tcp;allow=192.0.2.7/32;hold=300,81:81/tcp;allow=192.0.2.7/32;hold=300");
}

TEST(PublishedPort, OnePortMayBeSeveralOfDifferentAddressesOrProtocols) {
    EXPECT_TRUE(parse_published_ports("80:80/tcp,80:80/udp"));
    EXPECT_TRUE(parse_published_ports("203.0.113.7:80:80,203.0.113.8:80:81,[2001:db8::7]:80:80"));
    EXPECT_THAT(parsed("80:80,203.0.113.7:80:81"), HasSubstr("are one port of the host's"));
    EXPECT_THAT(parsed("80-82:80-82,82:90"), HasSubstr("are one port of the host's"));
}

TEST(PublishedPort, WhatIsWrongIsNamed) {
    constexpr const char* kForm = "it is not like 8080:80/tcp";
    const std::pair<const char*, const char*> refused[] = {
        {"", "nothing stands there"},
        {"80", kForm},
        {"80:", kForm},
        {":80", kForm},
        {"0:80", kForm},
        {"80:0", kForm},
        {"65536:80", kForm},
        {"80:80,", "nothing stands there"},
        {"80:80, 81:81", "no space belongs"},
        {"+80:80", kForm},
        {"90-80:90-80", kForm},
        {"80-81-82:1-3", kForm},
        {"a:b", kForm},
        {"80-81:80", "2 ports of the host's can't lead to 1 of the container's"},
        {"1-1025:1-1025", "may publish 1024 ports"},
        {"80:80/icmp", "the protocol is tcp, udp or sctp, not 'icmp'"},
        {"80:80/", "the protocol is tcp, udp or sctp, not ''"},
        {"80:81/sctp", "SCTP keeps its port"},
        {"web:80:80", "'web' is no address"},
        {"2001:db8::7:80:80", kForm},
        {"[2001:db8::7:80:80", "in brackets"},
        {"0.0.0.0:80:80", "leave the address out"},
        {"224.0.0.1:80:80", "no port is published at 224.0.0.1"},
        {"[fe80::1]:80:80", "no port is published at"},
        {"80:80;hold=0", "`hold` is followed by seconds, 1 to 300, not by '0'"},
        {"80:80;hold=301", "1 to 300"},
        {"80:80;hold=", "1 to 300, not by ''"},
        {"80:80;hold=10s", "'10s'"},
        {"80:80;hold=3;hold=3", "each once at most"},
        {"53:53/udp;hold=3", "`hold` is for tcp"},
        {"80:80;held=3", "not 'held=3'"},
        {"[::ffff:192.0.2.7]:80:80", "no port is published at"},
        {"80:80;allow=127.0.0.0/8", "nobody comes from 127.0.0.0/8"},
        {"80:80;allow=::ffff:192.0.2.7", "nobody comes from"},
        {"80:80;allow=", "`allow` is followed by"},
        {"80:80;allow=10.0.0.0/8;allow=192.0.2.1", "behind `;` stands allow="},
        {"80:80;allow=10.0.0.1/8", "10.0.0.1/8"},
        {"80:80;allow=10.0.0.0/8+", "''"},
        {"80:80;allow=web", "web"},
        {"80:80;allow=198.51.100.0/24,203.0.113.0/24", "'203.0.113.0/24': it has no ports; if `allow`"},
        {"80:80;allow=2001:db8::7,198.51.100.7", "'198.51.100.7': it has no ports; if `allow`"},
        {"127.0.0.1:80:80;allow=198.51.100.0/24", "nobody but this host comes to 127.0.0.1"},
        {"[::1]:80:80;allow=2001:db8::/32", "nobody but this host comes to ::1"},
        {"192.0.2.1:80:80;allow=2001:db8::/32", "`allow` names no IPv4 address"},
        {"[2001:db8::1]:80:80;allow=192.0.2.0/24", "`allow` names no IPv6 address"},
        {"80:80;", "behind `;` stands allow="}};
    for (const auto& [text, reason] : refused) {
        EXPECT_THAT(parsed(text), HasSubstr(reason)) << text;
    }
}

}  // namespace
}  // namespace netkitd
