#include "config/annotations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace netkitd {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

using Annotations = std::map<std::string, std::string>;

// The message of a refusal; empty when the annotations are fine.
std::string refusal(const Annotations& annotations) {
    const auto options = parse_annotations(annotations);
    if (options) {
        return "";
    }
    EXPECT_EQ(options.error().kind(), ErrorKind::invalid);
    return options.error().message();
}

TEST(Annotations, AContainerThatOnlyOptsInGetsTheDefaults) {
    const auto options = parse_annotations({{"io.netkitd.network", "default"}});
    ASSERT_TRUE(options);
    EXPECT_EQ(*options, AttachOptions());
    EXPECT_EQ(options->interface_name, "eth0");
}

TEST(Annotations, EverythingAContainerMayAskFor) {
    const auto options = parse_annotations({{"io.netkitd.network", "web-2"},
                                            {"io.netkitd.interface", "net0"},
                                            {"io.netkitd.ipv4", "10.78.0.10"},
                                            {"io.netkitd.ipv6", "fd12:3456:789a::10"},
                                            {"io.netkitd.mtu", "9000"},
                                            {"io.netkitd.device-mode", "veth"},
                                            {"io.netkitd.dns", "192.0.2.53,2001:db8::53"}});
    ASSERT_TRUE(options) << options.error().message();
    EXPECT_EQ(options->network, "web-2");
    EXPECT_EQ(options->interface_name, "net0");
    EXPECT_EQ(options->ipv4, *IpAddr::parse("10.78.0.10"));
    EXPECT_EQ(options->ipv6, *IpAddr::parse("fd12:3456:789a::10"));
    EXPECT_EQ(options->mtu, 9000U);
    EXPECT_EQ(options->device_mode, link::DeviceMode::veth);
    EXPECT_EQ(options->dns, (std::vector{*IpAddr::parse("192.0.2.53"), *IpAddr::parse("2001:db8::53")}));
}

TEST(Annotations, ATypoIsRefusedAndTheRightNamesAreListed) {
    EXPECT_THAT(
        refusal({{"io.netkitd.netwrok", "default"}}),
        AllOf(HasSubstr("'io.netkitd.netwrok'"), HasSubstr("no such annotation"), HasSubstr("io.netkitd.network")));
    EXPECT_THAT(refusal({{"io.netkitd.", ""}}), HasSubstr("no such annotation"));
    EXPECT_THAT(refusal({{"io.netkitd.Network", "default"}}), HasSubstr("no such annotation"));
}

TEST(Annotations, OtherPeoplesAnnotationsAreLeftAlone) {
    EXPECT_EQ(refusal({{"org.example.mtu", "x"}, {"io.netkitd", "x"}, {"io.netkit.mtu", "x"}}), "");
}

TEST(Annotations, NetworkNamesAreLowerCaseWords) {
    for (const char* name : {"", "-web", "Web", "a b", "web/../../etc", "wéb", "web\n"}) {
        EXPECT_THAT(refusal({{"io.netkitd.network", name}}),
                    AllOf(HasSubstr("annotation 'io.netkitd.network'"), HasSubstr("is not a network name")))
            << name;
    }
    EXPECT_EQ(refusal({{"io.netkitd.network", std::string(32, 'a')}}), "");
    EXPECT_NE(refusal({{"io.netkitd.network", std::string(33, 'a')}}), "");
}

TEST(Annotations, InterfaceNamesAreWhatTheKernelTakesAndNothingThatEscapesAPath) {
    for (const char* name : {"", ".", "..", "eth0/..", "eth 0", "eth0:1", "eth%d", "sixteen-bytes-xx", "eth\x1b", "lo",
                             "all", "default"}) {
        EXPECT_THAT(refusal({{"io.netkitd.interface", name}}), HasSubstr("annotation 'io.netkitd.interface'")) << name;
    }
    for (const char* name : {"eth0", "fifteen-bytes-x", "net.100", "a"}) {
        EXPECT_EQ(refusal({{"io.netkitd.interface", name}}), "") << name;
    }
}

TEST(Annotations, AStaticAddressIsOneIpv4Address) {
    for (const char* address : {"", "10.77.0", "10.77.0.5/16", "fd77::5", "10.77.0.5 ", "10.77.0.005"}) {
        EXPECT_THAT(refusal({{"io.netkitd.ipv4", address}}), HasSubstr("is not an IPv4 address")) << address;
    }
}

TEST(Annotations, AStaticAddressIsOneIpv6Address) {
    for (const char* address : {"", "fd77::5/64", "10.77.0.5", "[fd77::5]", "fe80::1%eth0", "fd77:::5"}) {
        EXPECT_THAT(refusal({{"io.netkitd.ipv6", address}}), HasSubstr("is not an IPv6 address")) << address;
    }
}

TEST(Annotations, AnMtuIsAPlainNumberInRange) {
    for (const char* mtu : {"", "1279", "65536", "-1", "+1500", "1500 ", "0x5dc", "1e3", "99999999999999999999"}) {
        EXPECT_THAT(refusal({{"io.netkitd.mtu", mtu}}), HasSubstr("is not a number from 1280 to 65535")) << mtu;
    }
    EXPECT_EQ(parse_annotations({{"io.netkitd.mtu", "1280"}})->mtu, 1280U);
    EXPECT_EQ(parse_annotations({{"io.netkitd.mtu", "65535"}})->mtu, 65535U);
}

TEST(Annotations, WhatThisVersionCannotDoIsRefusedNotIgnored) {
    for (const char* name : {"service"}) {
        EXPECT_THAT(refusal({{std::string("io.netkitd.") + name, "x"}}),
                    AllOf(HasSubstr(name), HasSubstr("not supported by this version yet")));
    }
    EXPECT_EQ(parse_annotations({{"io.netkitd.device-mode", "netkit-l2"}})->device_mode, link::DeviceMode::netkit_l2);
    EXPECT_THAT(refusal({{"io.netkitd.device-mode", "auto"}}),
                HasSubstr("not a device mode (netkit, netkit-l2 or veth)"));
}

TEST(Annotations, PublishedPortsAreNamedWithTheirMistake) {
    EXPECT_EQ(to_string(parse_annotations({{"io.netkitd.publish", "8080:80"}})->publish), "8080:80/tcp");
    EXPECT_THAT(refusal({{"io.netkitd.publish", "8080"}}),
                AllOf(HasSubstr("'io.netkitd.publish'"), HasSubstr("'8080': it is not like 8080:80/tcp")));
}

TEST(Annotations, HostileTextCannotForgeALogLineOrFloodIt) {
    const std::string hostile = "\x1b[31m\nnetkitd: all is well\xff" + std::string(1'000'000, 'A');
    for (const char* name : {"network", "interface", "ipv4", "ipv6", "mtu", "device-mode", "publish"}) {
        const std::string message = refusal({{std::string("io.netkitd.") + name, hostile}});
        EXPECT_THAT(message, AllOf(HasSubstr(R"(\x1b[31m\x0anetkitd)"), Not(HasSubstr("\n")))) << name;
        EXPECT_LT(message.size(), 500U) << name;
    }
    EXPECT_LT(refusal({{"io.netkitd." + hostile, ""}}).size(), 500U);
}

TEST(Annotations, NameServersAreAddressesThatAContainerCanAsk) {
    const std::pair<const char*, const char*> refused[] = {
        {"", "0 name servers"},
        {"dns.example", "is not an IP address"},
        {"192.0.2.53,", "'' is not an IP address"},
        {"192.0.2.53, 192.0.2.54", "' 192.0.2.54' is not an IP address"},
        {"192.0.2.53:53", "is not an IP address"},
        {"127.0.0.1", "127.0.0.1 listens on this host's loopback"},
        {"fe80::1", "fe80::1 is a link-local address"},
        {"224.0.0.251", "is a multicast address"},
        {"192.0.2.1,192.0.2.1", "192.0.2.1 is given twice"},
        {"192.0.2.1,192.0.2.2,192.0.2.3,192.0.2.4", "4 name servers"}};
    for (const auto& [value, reason] : refused) {
        EXPECT_THAT(refusal({{"io.netkitd.network", "default"}, {"io.netkitd.dns", value}}),
                    AllOf(HasSubstr("'io.netkitd.dns'"), HasSubstr(reason)))
            << value;
    }
}

}  // namespace
}  // namespace netkitd
