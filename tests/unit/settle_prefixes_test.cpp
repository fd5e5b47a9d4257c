#include "node/settle_prefixes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace netkitd {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

link::HostPrefix address(const char* text) {
    return {.prefix = IpPrefix::parse(text).value(), .connected = true, .text = formatted("the address {}", text)};
}
link::HostPrefix link_route(const char* text) {
    return {.prefix = IpPrefix::parse(text).value(), .connected = true, .text = formatted("the route {}", text)};
}
link::HostPrefix route(const char* text) {
    return {.prefix = IpPrefix::parse(text).value(), .connected = false, .text = formatted("the route {}", text)};
}

Config config_of(std::string_view text) {
    return parse_config(text, "netkitd.json").value();
}

EndpointRecord container(const char* network, const char* address4) {
    EndpointRecord record;
    record.network = network;
    record.ipv4 = IpAddr::parse(address4).value();
    return record;
}

// The default network's, on such a host.
std::string default_prefix(const std::vector<link::HostPrefix>& host,
                           const std::vector<EndpointRecord>& endpoints = {}) {
    const auto settled = settle_prefixes(default_config(), host, endpoints);
    return settled ? settled->networks[0].ipv4.to_string() : settled.error().message();
}

std::string refusal(std::string_view config, const std::vector<link::HostPrefix>& host,
                    const std::vector<EndpointRecord>& endpoints = {}) {
    const auto settled = settle_prefixes(config_of(config), host, endpoints);
    return settled ? "" : settled.error().message();
}

TEST(SettlePrefixes, TheDefaultIsTheFirstThatTheHostHasNoUseFor) {
    EXPECT_EQ(default_prefix({}), "10.77.0.0/16");
    EXPECT_EQ(default_prefix({address("192.0.2.1/32"), link_route("192.0.2.0/24")}), "10.77.0.0/16");
    EXPECT_EQ(default_prefix({address("10.77.5.5/32"), link_route("10.77.5.0/24")}), "10.177.0.0/16");
    EXPECT_EQ(default_prefix({route("10.77.0.1/32")}), "10.177.0.0/16");
    EXPECT_EQ(default_prefix({route("10.0.0.0/8")}), "172.30.0.0/16") << "a company's";
    EXPECT_EQ(default_prefix({route("10.0.0.0/8"), route("172.16.0.0/12")}), "192.168.208.0/20");
    EXPECT_EQ(default_prefix({route("0.0.0.0/1"), route("128.0.0.0/1")}), "10.77.0.0/16") << "a VPN for all traffic";
    EXPECT_THAT(default_prefix({route("10.0.0.0/8"), route("172.16.0.0/12"), route("192.168.0.0/16")}),
                AllOf(HasSubstr("network default: this host has a use for all of 10.77.0.0/16"),
                      HasSubstr("the route 10.0.0.0/8"), HasSubstr("a prefix of its own")));
}

TEST(SettlePrefixes, TheDefaultStaysWhereItsContainersAre) {
    EXPECT_EQ(default_prefix({address("10.77.5.5/32")}, {container("default", "10.77.0.2")}), "10.77.0.0/16");
    EXPECT_EQ(default_prefix({}, {container("default", "10.177.0.2")}), "10.177.0.0/16");
    EXPECT_EQ(default_prefix({address("10.77.5.5/32")}, {container("web", "10.77.0.2")}), "10.177.0.0/16");
}

TEST(SettlePrefixes, TheDefaultHasAnIpv6PrefixOfItsOwnToo) {
    const auto settled = settle_prefixes(default_config(), {address("fd6e:6b64::5/128"), route("fd00::/8")}, {});
    ASSERT_TRUE(settled) << settled.error().message();
    EXPECT_EQ(settled->networks[0].ipv6->to_string(), "fd6e:6b64:0:1::/64");
}

TEST(SettlePrefixes, AConfiguredPrefixThatWouldCutTheHostOffIsRefusedByName) {
    constexpr auto kWeb = R"({"networks": {"web": {"ipv4": "10.80.0.0/16", "ipv6": "fd80::/64"}}})";
    EXPECT_EQ(refusal(kWeb, {route("10.0.0.0/8")}), "") << "it is what the administrator wants";
    for (const auto& host : {address("10.80.5.5/32"), link_route("10.80.5.0/24"), route("10.80.7.0/24"),
                             route("10.80.0.0/16"), link_route("10.0.0.0/8")}) {
        EXPECT_THAT(refusal(kWeb, {host}), AllOf(HasSubstr("networks.web.ipv4: 10.80.0.0/16 overlaps"),
                                                 HasSubstr(host.text), HasSubstr("another prefix")));
    }
    EXPECT_THAT(refusal(kWeb, {address("fd80::1/128")}), HasSubstr("networks.web.ipv6: fd80::/64 overlaps"));
    EXPECT_EQ(refusal(kWeb, {address("10.80.5.5/32")}, {container("web", "10.80.0.2")}), "")
        << "its containers are not given up for what came later";
    EXPECT_THAT(refusal(R"({"networks": {"default": {"ipv4": "10.77.0.0/16"}}})", {route("10.77.3.0/24")}),
                HasSubstr("networks.default.ipv4"));
}

TEST(SettlePrefixes, WhatCameLaterIsNamedAndTheHosts) {
    const Config config = default_config();
    const std::vector<link::HostPrefix> host{address("10.77.5.5/32"), link_route("10.77.5.0/24"), route("10.0.0.0/8"),
                                             address("192.0.2.1/32")};
    const auto overlaps = find_overlaps(config, host);
    ASSERT_EQ(overlaps.size(), 1U);
    EXPECT_EQ(overlaps[0].network, "default");
    EXPECT_EQ(overlaps[0].host.text, "the address 10.77.5.5/32");
    EXPECT_THAT(within_networks(config, host),
                ElementsAre(IpPrefix::parse("10.77.5.5/32").value(), IpPrefix::parse("10.77.5.0/24").value()));
    EXPECT_THAT(within_networks(config, {route("10.0.0.0/8")}), IsEmpty());
}

// As of a routing daemon's: it must not take a second to look at them.
TEST(SettlePrefixes, TensOfThousandsOfTheHostsInANetworkAreOnesThatItHolds) {
    std::vector<link::HostPrefix> host;
    for (int i = 0; i < 65536; ++i) {
        host.push_back(route(formatted("10.77.{}.{}/32", i / 256, i % 256).c_str()));
    }
    EXPECT_EQ(within_networks(default_config(), host).size(), 65536U);
    host.push_back(route("10.77.0.0/17"));
    EXPECT_EQ(within_networks(default_config(), host).size(), 65537U) << "single ones stay beside what holds them";
}

TEST(SettlePrefixes, AGatewayOnALinkOfTheHostsIsTheLinks) {
    EXPECT_THAT(gateways_on_links(default_config(), {link_route("10.77.0.0/16"), address("10.77.9.9/32")}),
                ElementsAre(IpAddr::parse("10.77.0.1").value()));
    EXPECT_THAT(gateways_on_links(default_config(), {link_route("10.77.5.0/24"), route("10.0.0.0/8")}), IsEmpty());
}

TEST(SettlePrefixes, OfManyOfTheHostsItsAddressesComeFirstThenTheShortest) {
    const std::vector<link::HostPrefix> host{route("10.77.0.9/32"),      address("10.77.5.5/32"),
                                             route("10.77.8.0/24"),      route("10.77.8.0/25"),
                                             link_route("10.77.0.0/20"), address("fd6e:6b64::5/128")};
    const auto prefixes = within_networks(default_config(), host);
    const auto texts = [](const std::vector<IpPrefix>& list) {
        std::vector<std::string> result;
        std::ranges::transform(list, std::back_inserter(result), &IpPrefix::to_string);
        return result;
    };
    EXPECT_THAT(texts(prefixes), ElementsAre("10.77.5.5/32", "fd6e:6b64::5/128", "10.77.0.0/20", "10.77.0.9/32"));
    EXPECT_THAT(texts(first_of_each_family(prefixes, 2)),
                ElementsAre("10.77.5.5/32", "fd6e:6b64::5/128", "10.77.0.0/20"));
}

}  // namespace
}  // namespace netkitd
