#include "config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace netkitd {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr const char* kFile = "/etc/netkitd/netkitd.json";

std::string refusal(std::string_view text) {
    const auto config = parse_config(text, kFile);
    if (config) {
        return "";
    }
    EXPECT_EQ(config.error().kind(), ErrorKind::invalid);
    EXPECT_THAT(config.error().message(), StartsWith("/etc/netkitd/netkitd.json: "));
    return config.error().message();
}

TEST(Config, AnEmptyObjectIsTheDefaults) {
    const auto config = parse_config("{}", kFile);
    ASSERT_TRUE(config) << config.error().message();
    EXPECT_EQ(*config, default_config());
    ASSERT_EQ(config->networks.size(), 1U);
    EXPECT_EQ(config->networks.front().name, "default");
    EXPECT_EQ(config->networks.front().ipv4.to_string(), "10.77.0.0/16");
    EXPECT_EQ(config->networks.front().gateway4().to_string(), "10.77.0.1");
    EXPECT_EQ(config->networks.front().ipv6->to_string(), "fd6e:6b64::/64");
    EXPECT_EQ(config->networks.front().gateway6()->to_string(), "fd6e:6b64::1");
    EXPECT_TRUE(config->masquerade);
    EXPECT_EQ(config->masquerade_ports, (PortRange{.first = 49152, .last = 65535}));
    EXPECT_EQ(config->store, "/var/lib/netkitd/state.db");
}

TEST(Config, EveryKeyOfThisVersion) {
    const auto config = parse_config(R"(
        // comments of both kinds
        {
            "networks": {
                "web": {"ipv4": "10.80.0.0/24", "ipv6": "fd12:3456:789a::/64", "mtu": 1400, "isolated": true,
                        "accept_forwarded": true,
                        "masquerade": {"ipv4": "192.0.2.7", "ipv6": true}},
                "default": {"ipv4": "10.79.0.0/16", "ipv6": false}, /* in the order of the file */
                "a": {"ipv4": "10.81.0.0/29", "masquerade": true}
            },
            "uplinks": ["eth0", "wan.100"],
            "device_mode": "veth",
            "masquerade": {
                "enabled": false,
                "non_masquerade_cidrs": ["10.0.0.0/8", "fd00::/8"],
                "ports": "30000-40000",
                "lifetimes": {"new_seconds": 30, "tcp_established_seconds": 86400, "tcp_half_closed_seconds": 120,
                              "tcp_closed_seconds": 11, "udp_seconds": 90, "icmp_seconds": 20,
                              "sctp_seconds": 30}
            },
            "big_tcp": false,
            "store": "/tmp/state.db"
        })",
                                     kFile);
    ASSERT_TRUE(config) << config.error().message();
    ASSERT_EQ(config->networks.size(), 3U);
    EXPECT_EQ(config->networks[0].name, "web");
    EXPECT_EQ(config->networks[0].mtu, 1400U);
    EXPECT_EQ(config->networks[0].ipv6->to_string(), "fd12:3456:789a::/64");
    EXPECT_EQ(config->networks[1].ipv6, std::nullopt);
    EXPECT_EQ(config->networks[2].gateway6(), std::nullopt);
    EXPECT_EQ(config->networks[1].ipv4.to_string(), "10.79.0.0/16");
    EXPECT_EQ(config->networks[2].gateway4().to_string(), "10.81.0.1");
    EXPECT_EQ(config->uplinks, (std::vector<std::string>{"eth0", "wan.100"}));
    EXPECT_EQ(config->device_mode, link::DeviceMode::veth);
    EXPECT_TRUE(config->networks[0].isolated);
    EXPECT_TRUE(config->networks[0].accept_forwarded);
    EXPECT_FALSE(config->networks[1].accept_forwarded);
    EXPECT_EQ(config->networks[0].masquerade4.source->to_string(), "192.0.2.7");
    EXPECT_TRUE(config->networks[0].masquerade4.enabled);
    EXPECT_TRUE(config->networks[0].masquerade6.enabled);
    EXPECT_EQ(config->networks[0].masquerade6.source, std::nullopt);
    EXPECT_FALSE(config->masquerade);
    EXPECT_FALSE(config->networks[1].isolated);
    EXPECT_FALSE(config->networks[1].masquerade4.enabled) << "the node's, where the network does not say";
    EXPECT_TRUE(config->networks[2].masquerade4.enabled);
    EXPECT_THAT(config->non_masquerade,
                testing::ElementsAre(*IpPrefix::parse("10.0.0.0/8"), *IpPrefix::parse("fd00::/8")));
    EXPECT_EQ(config->masquerade_ports, (PortRange{.first = 30000, .last = 40000}));
    EXPECT_EQ(config->lifetimes.fresh.count(), 30);
    EXPECT_EQ(config->lifetimes.tcp_established.count(), 86400);
    EXPECT_EQ(config->lifetimes.tcp_half_closed.count(), 120);
    EXPECT_EQ(config->lifetimes.tcp_closed.count(), 11);
    EXPECT_EQ(config->lifetimes.udp.count(), 90);
    EXPECT_EQ(config->lifetimes.icmp.count(), 20);
    EXPECT_EQ(config->lifetimes.sctp.count(), 30);
    EXPECT_EQ(config->store, "/tmp/state.db");
    EXPECT_EQ(config->find_network("web"), &config->networks[0]);
    EXPECT_EQ(config->find_network("wed"), nullptr);
}

TEST(Config, DefaultIsThereBesideOtherNetworks) {
    const auto config = parse_config(R"({"networks": {"web": {"ipv4": "10.80.0.0/24"}}})", kFile);
    ASSERT_TRUE(config) << config.error().message();
    ASSERT_EQ(config->networks.size(), 2U);
    EXPECT_EQ(config->networks[1].name, "default");
    EXPECT_TRUE(parse_config(R"({"networks": {"default": {"mtu": 9000}}})", kFile));
}

TEST(Config, AWrongKeyIsNamedWithItsPathAndTheRightOnes) {
    EXPECT_THAT(refusal(R"({"uplink": []})"), AllOf(HasSubstr("'uplink': no such key"), HasSubstr("uplinks")));
    EXPECT_THAT(
        refusal(R"({"networks": {"web": {"ipv4": "10.80.0.0/24", "MTU": 1}}})"),
        AllOf(HasSubstr("networks.web.'MTU'"), HasSubstr("ipv4, ipv6, mtu, isolated, accept_forwarded, masquerade")));
    EXPECT_THAT(refusal(R"({"masquerade": {"enable": true}})"), HasSubstr("masquerade.'enable'"));
}

TEST(Config, AWrongTypeIsNamedWithWhatItShouldBe) {
    EXPECT_THAT(refusal(R"([])"), HasSubstr("the file: must be an object"));
    EXPECT_THAT(refusal(R"({"networks": []})"), HasSubstr("networks: must be an object of networks"));
    EXPECT_THAT(refusal(R"({"networks": {"web": "10.80.0.0/24"}})"), HasSubstr("networks.web: must be an object"));
    EXPECT_THAT(refusal(R"({"uplinks": "eth0"})"), HasSubstr("uplinks: must be an array of strings, not string"));
    EXPECT_THAT(refusal(R"({"uplinks": ["eth0", 7]})"), HasSubstr("uplinks[1]: must be a string, not number"));
    EXPECT_THAT(refusal(R"({"masquerade": true})"), HasSubstr("masquerade: must be an object"));
    EXPECT_THAT(refusal(R"({"masquerade": {"enabled": "yes"}})"), HasSubstr("masquerade.enabled: must be true or"));
    EXPECT_THAT(refusal(R"({"masquerade": {"enabled": null}})"), HasSubstr("not null"));
    EXPECT_THAT(refusal(R"({"device_mode": 1})"), HasSubstr("device_mode: must be a string"));
    EXPECT_THAT(refusal(R"({"big_tcp": 0})"), HasSubstr("big_tcp: must be true or false"));
}

TEST(Config, ASyntaxErrorIsFoundByLineAndColumn) {
    EXPECT_THAT(refusal("{\n  \"uplinks\": [],\n  \"big_tcp\" false\n}"), HasSubstr("line 3, column "));
    EXPECT_THAT(refusal(""), HasSubstr("line 1, column 1"));
    EXPECT_THAT(refusal("{} trailing"), HasSubstr("line 1, column"));
    EXPECT_THAT(refusal("{/* never closed"), HasSubstr("line 1, column"));
    EXPECT_THAT(refusal("{\"store\": \"\xff\"}"), HasSubstr("UTF-8"));
    EXPECT_THAT(refusal(std::string_view("{}\n\0", 4)), HasSubstr("line 2, column 1: a NUL byte"));
    EXPECT_NE(refusal("{\"big_tcp\": 1e999}"), "");
}

TEST(Config, AKeyThatIsThereTwiceIsRefused) {
    EXPECT_THAT(refusal(R"({"store": "/a", "big_tcp": false, "store": "/b"})"),
                HasSubstr("'store': this key is there twice"));
    EXPECT_THAT(refusal(R"({"networks": {"a": {"ipv4": "10.80.0.0/24"}, "a": {"ipv4": "10.81.0.0/24"}}})"),
                HasSubstr("'networks.a': this key is there twice"));
    EXPECT_EQ(refusal(R"({"networks": {"a": {"ipv4": "10.80.0.0/24"}, "b": {"ipv4": "10.81.0.0/24"}}})"), "");
}

TEST(Config, HostileFilesAreRefusedInBoundedSpace) {
    const std::string deep = std::string(400'000, '[') + std::string(400'000, ']');
    EXPECT_THAT(refusal(R"({"uplinks": )" + deep + "}"), HasSubstr("nested deeper than 4 levels"));
    EXPECT_NE(refusal(std::string(900'000, '{')), "");
    EXPECT_THAT(refusal("{}" + std::string(1024UL * 1024, ' ')), HasSubstr("larger than 1048576 bytes"));
    const std::string token = refusal("{\"" + std::string(500'000, 'x') + "\x1b\n");
    EXPECT_LT(token.size(), 500U);
    EXPECT_THAT(token, AllOf(Not(HasSubstr("\x1b")), Not(HasSubstr("\n"))));
    EXPECT_LT(refusal("{\"" + std::string(500'000, 'x') + "\": 1}").size(), 500U);
}

TEST(Config, APrefixMustSuitContainers) {
    const auto with = [](const std::string& prefix) {
        return refusal(R"({"networks": {"web": {"ipv4": ")" + prefix + R"("}}})");
    };
    EXPECT_EQ(with("192.168.7.0/29"), "");
    EXPECT_EQ(with("100.64.0.0/10"), "");
    EXPECT_THAT(with("10.80.0.1/24"), AllOf(HasSubstr("networks.web.ipv4: "), HasSubstr("did you mean 10.80.0.0/24?")));
    for (const char* prefix : {"10.80.0.0/30", "8.0.0.0/7", "0.0.0.0/0", "fd77::/64"}) {
        EXPECT_THAT(with(prefix), HasSubstr("is not an IPv4 prefix between /8 and /29")) << prefix;
    }
    EXPECT_THAT(with("127.0.0.0/8"), HasSubstr("loopback"));
    EXPECT_THAT(with("169.254.7.0/24"), HasSubstr("link-local"));
    EXPECT_THAT(with("239.0.0.0/8"), HasSubstr("multicast"));
    EXPECT_THAT(with("0.0.0.0/8"), HasSubstr("this network"));
    EXPECT_THAT(with("240.0.0.0/8"), HasSubstr("reserved"));
    for (const char* prefix : {"", "10.80.0.0", "web", "10.80.0.0/24/24"}) {
        EXPECT_THAT(with(prefix), HasSubstr("networks.web.ipv4: ")) << prefix;
    }
    EXPECT_THAT(refusal(R"({"networks": {"web": {}}})"), HasSubstr("networks.web.ipv4: missing"));
}

TEST(Config, AnIpv6PrefixMustSuitContainersToo) {
    const auto with = [](const std::string& value) {
        return refusal(R"({"networks": {"web": {"ipv4": "10.80.0.0/24", "ipv6": )" + value + "}}}");
    };
    EXPECT_EQ(with(R"("fd12:3456:789a::/64")"), "");
    EXPECT_EQ(with(R"("2001:db8:7::/48")"), "");
    EXPECT_EQ(with(R"("2001:db8:7::8/125")"), "");
    EXPECT_EQ(with("false"), "");
    EXPECT_THAT(with(R"("fd12::1/64")"), AllOf(HasSubstr("networks.web.ipv6: "), HasSubstr("did you mean fd12::/64?")));
    for (const char* prefix : {R"("fd12::/126")", R"("2001:d00::/32")", R"("10.81.0.0/24")"}) {
        EXPECT_THAT(with(prefix), HasSubstr("is not an IPv6 prefix between /48 and /125")) << prefix;
    }
    EXPECT_THAT(with(R"("fe80::/64")"), HasSubstr("link-local"));
    EXPECT_THAT(with(R"("ff05::/64")"), HasSubstr("multicast"));
    EXPECT_THAT(with(R"("::/96")"), HasSubstr("loopback"));
    EXPECT_THAT(with("true"), HasSubstr("networks.web.ipv6: must be a string"));
    EXPECT_THAT(with("64"), HasSubstr("networks.web.ipv6: must be a string"));
}

TEST(Config, PrefixesAreInTheOrderOfTheDatapathsIndexes) {
    const auto config = parse_config(
        R"({"networks": {"a": {"ipv4": "10.80.0.0/24"}, "b": {"ipv4": "10.81.0.0/24", "ipv6": "fd12::/64"}}})", kFile);
    ASSERT_TRUE(config) << config.error().message();
    std::string text;
    for (const IpPrefix& prefix : config->prefixes()) {
        text += prefix.to_string() + " ";
    }
    EXPECT_EQ(text, "10.80.0.0/24 10.81.0.0/24 fd12::/64 10.77.0.0/16 fd6e:6b64::/64 ");
}

TEST(Config, NetworksMustNotOverlap) {
    EXPECT_THAT(refusal(R"({"networks": {"a": {"ipv4": "10.80.0.0/16"}, "b": {"ipv4": "10.80.7.0/24"}}})"),
                AllOf(HasSubstr("networks.a.ipv4"), HasSubstr("10.80.7.0/24 of the network b")));
    EXPECT_THAT(refusal(R"({"networks": {"a": {"ipv4": "10.80.0.0/24", "ipv6": "fd6e:6b64::/48"}}})"),
                AllOf(HasSubstr("networks.a.ipv6"), HasSubstr("fd6e:6b64::/64 of the network default")));
    EXPECT_THAT(refusal(R"({"networks": {"a": {"ipv4": "10.0.0.0/8"}}})"),
                AllOf(HasSubstr("10.77.0.0/16 of the network default"), HasSubstr("also when it is not configured")));
}

TEST(Config, NetworkNamesAndCountAreBounded) {
    EXPECT_THAT(refusal(R"({"networks": {"Web": {"ipv4": "10.80.0.0/24"}}})"),
                HasSubstr("'Web' is not a network name"));
    const auto networks = [](int count) {
        std::string text = R"({"networks": {)";
        for (int i = 0; i < count; ++i) {
            text += formatted(R"({}"n{}": {{"ipv4": "10.80.{}.0/24"}})", i > 0 ? "," : "", i, i);
        }
        return refusal(text + "}}");
    };
    EXPECT_EQ(networks(15), "");
    EXPECT_THAT(networks(16), HasSubstr("17 networks, `default` included; at most 16"));
}

TEST(Config, ANetworkMayHaveNameServers) {
    const auto config = parse_config(R"({"networks": {"default": {"dns": ["192.0.2.53", "2001:db8::53"]}}})", kFile);
    ASSERT_TRUE(config) << config.error().message();
    EXPECT_EQ(config->networks[0].dns, (std::vector{*IpAddr::parse("192.0.2.53"), *IpAddr::parse("2001:db8::53")}));
    EXPECT_THAT(refusal(R"({"networks": {"default": {"dns": []}}})"),
                HasSubstr("networks.default.dns: 0 name servers"));
    EXPECT_THAT(refusal(R"({"networks": {"default": {"dns": ["::1"]}}})"),
                HasSubstr("networks.default.dns: ::1 listens"));
}

TEST(Config, AnMtuIsAWholeNumberInRange) {
    for (const char* mtu : {"1279", "65536", "-1", "1500.0", "\"1500\"", "18446744073709551616", "true"}) {
        EXPECT_THAT(refusal(formatted(R"({{"networks": {{"default": {{"mtu": {}}}}}}})", mtu)),
                    HasSubstr("networks.default.mtu: must be a whole number from 1280 to 65535"))
            << mtu;
    }
}

TEST(Config, UplinksAreDeviceNames) {
    EXPECT_THAT(refusal(R"({"uplinks": ["eth0", "../x"]})"), HasSubstr("uplinks[1]: '../x' is not an interface name"));
    EXPECT_THAT(refusal(R"({"uplinks": ["eth0", "eth1", "eth0"]})"), HasSubstr("eth0 is there twice"));
    std::string many = R"({"uplinks": ["e0")";
    for (int i = 1; i < 257; ++i) {
        many += formatted(R"(,"e{}")", i);
    }
    EXPECT_THAT(refusal(many + "]}"), HasSubstr("uplinks: 257 devices; at most 256"));
}

TEST(Config, TheMasqueradePoolIsHighAndWideEnough) {
    const auto with = [](const std::string& ports) {
        return refusal(R"({"masquerade": {"ports": ")" + ports + R"("}})");
    };
    EXPECT_EQ(with("1024-65535"), "");
    EXPECT_EQ(with("60000-61023"), "");
    EXPECT_THAT(with("60000-61022"), AllOf(HasSubstr("masquerade.ports"), HasSubstr("fewer than 1024 ports")));
    EXPECT_THAT(with("1023-65535"), HasSubstr("begins below port 1024"));
    for (const char* ports :
         {"", "49152", "49152-", "-65535", "65535-49152", "49152-65536", "49152 - 65535", "a-b", "49152-65535-"}) {
        EXPECT_THAT(with(ports), HasSubstr("is not a range of ports")) << ports;
    }
}

TEST(Config, DestinationsThatAreNotMasqueraded) {
    const auto with = [](const std::string& prefixes) {
        return refusal(R"({"masquerade": {"non_masquerade_cidrs": [)" + prefixes + "]}}");
    };
    EXPECT_EQ(with(""), "");
    EXPECT_EQ(with(R"("10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32", "2001:db8::/32", "fd00::1/128")"), "");
    EXPECT_THAT(with(R"("10.0.0.0/8", "10.1.0.0/8")"),
                AllOf(HasSubstr("masquerade.non_masquerade_cidrs[1]: "), HasSubstr("did you mean 10.0.0.0/8?")));
    EXPECT_THAT(with(R"("10.0.0.0/8", "fd00::/8", "10.0.0.0/8")"),
                HasSubstr("masquerade.non_masquerade_cidrs[2]: 10.0.0.0/8 is there twice"));
    EXPECT_THAT(with(R"("10.0.0.1")"), HasSubstr("non_masquerade_cidrs[0]: '10.0.0.1' is not a prefix"));
    EXPECT_THAT(with(R"("10.0.0.0/33")"), HasSubstr("'33' is not a prefix length"));
    EXPECT_THAT(with("7"), HasSubstr("non_masquerade_cidrs[0]: must be a string, not number"));
    for (const char* everything : {R"("0.0.0.0/0")", R"("::/0")"}) {
        EXPECT_THAT(with(everything), AllOf(HasSubstr("is everything"), HasSubstr("masquerade.enabled")));
    }
    for (const char* unrouted :
         {R"("169.254.169.254/32")", R"("fe80::/10")", R"("224.0.0.0/24")", R"("127.0.0.0/8")"}) {
        EXPECT_THAT(with(unrouted), HasSubstr("no packet is ever routed there")) << unrouted;
    }
    std::string many = R"("10.0.0.0/32")";
    for (int i = 1; i < 1024; ++i) {
        many += formatted(R"(, "10.0.{}.{}/32")", i / 256, i % 256);
    }
    EXPECT_EQ(with(many + R"(, "fd00::/8")"), "") << "as many of each family";
    EXPECT_THAT(with(many + R"(, "10.1.0.0/16")"), HasSubstr("more than 1024 prefixes of one family"));
}

TEST(Config, ANetworkIsMasqueradedOrRoutedOrHasAnAddressForIt) {
    const auto with = [](const std::string& value) {
        return refusal(R"({"networks": {"web": {"ipv4": "10.80.0.0/24", "masquerade": )" + value + "}}}");
    };
    EXPECT_EQ(with("true"), "");
    EXPECT_EQ(with("false"), "");
    EXPECT_EQ(with("{}"), "");
    EXPECT_EQ(with(R"({"ipv4": "192.0.2.7", "ipv6": false})"), "");
    EXPECT_THAT(with(R"("yes")"), HasSubstr("networks.web.masquerade: must be true, false, or an object with ipv4"));
    EXPECT_THAT(with(R"({"ipv5": true})"), HasSubstr("networks.web.masquerade.'ipv5': no such key; there are ipv4"));
    EXPECT_THAT(with(R"({"ipv4": 7})"), HasSubstr("masquerade.ipv4: must be true, false, or an address of this host"));
    EXPECT_THAT(with(R"({"ipv4": "2001:db8::7"})"), HasSubstr("ipv4: '2001:db8::7' is not an IPv4 address"));
    EXPECT_THAT(with(R"({"ipv4": "eth0"})"), HasSubstr("'eth0' is not an IPv4 address"));
    EXPECT_THAT(with(R"({"ipv4": "127.0.0.1"})"), HasSubstr("is in 127.0.0.0/8, loopback"));
    EXPECT_THAT(with(R"({"ipv4": "10.77.0.1"})"), HasSubstr("is in 10.77.0.0/16 of the network default"));
    EXPECT_THAT(with(R"({"ipv6": "2001:db8::7"})"), HasSubstr("masquerade.ipv6: the network has no IPv6 prefix"));
}

TEST(Config, MasqueradePerNetworkOverridesTheNodes) {
    const auto config = parse_config(R"({"networks": {"default": {"masquerade": {"ipv6": false}}}})", kFile);
    ASSERT_TRUE(config) << config.error().message();
    EXPECT_TRUE(config->networks[0].masquerade(IpFamily::v4).enabled);
    EXPECT_FALSE(config->networks[0].masquerade(IpFamily::v6).enabled);
    const auto off = parse_config(R"({"masquerade": {"enabled": false}})", kFile);
    ASSERT_TRUE(off) << off.error().message();
    EXPECT_FALSE(off->networks[0].masquerade(IpFamily::v4).enabled);
}

TEST(Config, LifetimesAreInSecondsAndNotTooShort) {
    const auto with = [](const std::string& lifetimes) {
        return refusal(R"({"masquerade": {"lifetimes": )" + lifetimes + "}}");
    };
    EXPECT_EQ(with("{}"), "");
    EXPECT_EQ(with(R"({"udp_seconds": 10, "icmp_seconds": 604800})"), "");
    EXPECT_THAT(with(R"({"udp": 30})"), AllOf(HasSubstr("masquerade.lifetimes.'udp': no such key"),
                                              HasSubstr("tcp_half_closed_seconds, tcp_closed_seconds, udp_seconds")));
    for (const char* seconds : {"9", "604801", "-1", "\"30s\"", "30.5", "null"}) {
        EXPECT_THAT(with(formatted(R"({{"tcp_closed_seconds": {}}})", seconds)),
                    HasSubstr("lifetimes.tcp_closed_seconds: must be a whole number from 10 to 604800"))
            << seconds;
    }
    EXPECT_THAT(with("[]"), HasSubstr("masquerade.lifetimes: must be an object"));
}

TEST(Config, DeviceModes) {
    EXPECT_EQ(parse_config(R"({"device_mode": "auto"})", kFile)->device_mode, std::nullopt);
    EXPECT_EQ(parse_config(R"({"device_mode": "netkit"})", kFile)->device_mode, link::DeviceMode::netkit);
    EXPECT_EQ(parse_config(R"({"device_mode": "netkit-l2"})", kFile)->device_mode, link::DeviceMode::netkit_l2);
    EXPECT_THAT(refusal(R"({"device_mode": "bridge"})"),
                HasSubstr("device_mode: 'bridge' is not a device mode (netkit, netkit-l2 or veth), nor auto"));
}

TEST(Config, BigTcpIsOnUnlessItIsTurnedOff) {
    EXPECT_TRUE(default_config().big_tcp);
    EXPECT_TRUE(parse_config(R"({"big_tcp": true})", kFile)->big_tcp);
    EXPECT_FALSE(parse_config(R"({"big_tcp": false})", kFile)->big_tcp);
    EXPECT_THAT(refusal(R"({"big_tcp": 196608})"), HasSubstr("big_tcp"));
}

TEST(Config, WhatThisVersionCannotDoIsRefusedNotIgnored) {
    for (const auto& [text, key] : std::initializer_list<std::pair<const char*, const char*>>{
             {R"({"services": {"cidr_ipv4": "10.96.0.0/16"}})", "services.cidr_ipv4"},
             {R"({"services": {"node_port_range": "30000-32767"}})", "services.node_port_range"}}) {
        EXPECT_THAT(refusal(text), AllOf(HasSubstr(key), HasSubstr("not supported by this version yet"))) << text;
    }
}

TEST(Config, PortsArePublishedAtAddressesOrInPrefixes) {
    EXPECT_TRUE(default_config().publish_addresses.empty());
    EXPECT_EQ(
        parse_config(R"({"services": {"publish_address": ["192.0.2.1", "2001:db8::/32"]}})", kFile)->publish_addresses,
        (std::vector{*IpPrefix::parse("192.0.2.1/32"), *IpPrefix::parse("2001:db8::/32")}));
    EXPECT_THAT(refusal(R"({"services": {"publish_address": ["192.0.2.1", "192.0.2.1/32"]}})"),
                HasSubstr("services.publish_address[1]: 192.0.2.1/32 is there twice"));
    EXPECT_THAT(refusal(R"({"services": {"publish_address": ["0.0.0.0"]}})"), HasSubstr("nobody can reach 0.0.0.0"));
    EXPECT_THAT(refusal(R"({"services": {"publish_address": ["eth0"]}})"), HasSubstr("services.publish_address[0]: "));
    EXPECT_THAT(refusal(R"({"services": {"publish_address": "192.0.2.1"}})"), HasSubstr("services.publish_address"));
    EXPECT_THAT(refusal(R"({"services": {"publish": []}})"), HasSubstr("publish"));
}

TEST(Config, TheStoreIsAnAbsolutePath) {
    for (const char* path : {"", "state.db", "/var/lib/netkitd/", "/a\\u0000b"}) {
        EXPECT_THAT(refusal(formatted(R"({{"store": "{}"}})", path)), HasSubstr("store: ")) << path;
    }
}

TEST(Config, IsReadFromAFileAndAMissingOneIsNamed) {
    const std::string path = testing::TempDir() + "config_test.json";
    std::ofstream(path) << "{\"store\": \"/tmp/a.db\"} // fine\n";
    const auto config = load_config(path);
    ASSERT_TRUE(config) << config.error().message();
    EXPECT_EQ(config->store, "/tmp/a.db");
    std::filesystem::remove(path);

    const auto missing = load_config(path);
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().kind(), ErrorKind::not_found);
    EXPECT_THAT(missing.error().message(), AllOf(HasSubstr(path), HasSubstr("no such file")));

    const auto directory = load_config(testing::TempDir());
    ASSERT_FALSE(directory);
    EXPECT_THAT(directory.error().message(), AllOf(HasSubstr(testing::TempDir()), HasSubstr("Is a directory")));
    EXPECT_THAT(load_config("/dev/zero").error().message(), HasSubstr("larger than"));
}

}  // namespace
}  // namespace netkitd
