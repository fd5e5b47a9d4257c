#include "link/resolv_conf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "base/join.h"
#include "node/container_names.h"

namespace netkitd::link {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

ResolverSettings parse(std::string_view text) {
    return parse_resolv_conf(text, "/etc/resolv.conf");
}

std::string servers(const ResolverSettings& settings) {
    return join(settings.servers, &IpAddr::to_string);
}

// The settings of a host that has these files.
ResolverSettings settings_of(const std::map<std::string, std::string>& files) {
    return find_resolver_settings([&](const std::string& path) {
        const auto file = files.find(path);
        return file == files.end() ? std::nullopt : std::optional(file->second);
    });
}

TEST(ResolvConf, WhatItMayHold) {
    const auto settings = parse(
        "# by hand\n"
        "domain old.example\n"
        "search\texample.org  corp.example\r\n"
        "nameserver 192.0.2.53 # the first\n"
        "  nameserver\t2001:db8::53\n"
        "options ndots:2\noptions edns0 trust-ad\n"
        "sortlist 192.0.2.0\n"
        ";nameserver 192.0.2.99\n"
        "nameserver 192.0.2.54");
    EXPECT_EQ(servers(settings), "192.0.2.53, 2001:db8::53, 192.0.2.54");
    EXPECT_THAT(settings.search, ElementsAre("example.org", "corp.example"));
    EXPECT_THAT(settings.options, ElementsAre("ndots:2", "edns0", "trust-ad"));
    EXPECT_THAT(settings.unreachable, IsEmpty());
}

TEST(ResolvConf, ServersThatNoContainerReachesAreLeftOutByName) {
    const auto settings = parse(
        "nameserver 127.0.0.53\nnameserver ::1\nnameserver ::ffff:127.0.0.1\nnameserver 0.0.0.0\n"
        "nameserver fe80::1%up0\nnameserver ff02::fb\nnameserver 192.0.2.53\n");
    EXPECT_EQ(servers(settings), "192.0.2.53");
    EXPECT_THAT(settings.unreachable,
                ElementsAre(StartsWith("127.0.0.53 listens on this host's loopback"), StartsWith("::1 listens"),
                            StartsWith("::ffff:127.0.0.1 listens"), StartsWith("0.0.0.0 listens"),
                            StartsWith("fe80::1%up0 is a link-local"), StartsWith("ff02::fb is a multicast")));
}

TEST(ResolvConf, IsBounded) {
    std::string text;
    for (int i = 0; i < 1000; ++i) {
        text += formatted("nameserver 192.0.2.{}\nsearch {}\noptions o{}\n", i % 256, std::string(500, 'x'), i);
    }
    text += "search";
    for (int i = 0; i < 1000; ++i) {
        text += formatted(" d{}.example", i);
    }
    const auto settings = parse(text + "\nsearch \x1b[2J a\xff.example fine.example\n");
    EXPECT_THAT(settings.servers, SizeIs(8));
    EXPECT_THAT(settings.options, SizeIs(32));
    EXPECT_THAT(settings.search, ElementsAre("fine.example")) << "what is no word of ASCII is left out";
    EXPECT_THAT(parse(text).search, SizeIs(32));
}

TEST(ResolverSettings, OfALocalResolverTheUpstreamsCount) {
    const std::string stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n";
    const auto resolved =
        settings_of({{"/etc/resolv.conf", stub},
                     {"/run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\nsearch a.example\n"}});
    EXPECT_EQ(servers(resolved), "192.0.2.53");
    EXPECT_EQ(resolved.file, "/run/systemd/resolve/resolv.conf");
    EXPECT_THAT(resolved.search, ElementsAre("a.example"));
    const auto dnsmasq = settings_of({{"/etc/resolv.conf", "nameserver 127.0.1.1\n"},
                                      {"/run/NetworkManager/no-stub-resolv.conf", "nameserver 192.0.2.54\n"}});
    EXPECT_EQ(servers(dnsmasq), "192.0.2.54");
    const auto nothing = settings_of({{"/etc/resolv.conf", stub}, {"/run/systemd/resolve/resolv.conf", stub}});
    EXPECT_EQ(nothing.file, "/etc/resolv.conf");
    EXPECT_THAT(nothing.servers, IsEmpty());
    EXPECT_EQ(settings_of({}), ResolverSettings());
}

TEST(ResolverSettings, OneThatContainersReachIsEnough) {
    const auto both = settings_of({{"/etc/resolv.conf", "nameserver 127.0.0.1\nnameserver 192.0.2.1\n"},
                                   {"/run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\n"}});
    EXPECT_EQ(servers(both), "192.0.2.1");
}

TEST(ContainerNames, AreTheHostsOrWhatWasChosen) {
    const auto host = parse("search example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\noptions ndots:2\n");
    EXPECT_EQ(container_names(host, {}, true).resolv_conf,
              "# Of netkitd, from /etc/resolv.conf of the host\n"
              "search example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\noptions ndots:2\n");
    EXPECT_THAT(container_names(host, {}, false).resolv_conf, EndsWith("nameserver 192.0.2.53\noptions ndots:2\n"));
    const auto chosen = container_names(host, {*IpAddr::parse("198.51.100.1")}, true);
    EXPECT_THAT(chosen.resolv_conf, EndsWith("search example.org\nnameserver 198.51.100.1\noptions ndots:2\n"));
    EXPECT_EQ(chosen.obstacle, "");
}

TEST(ContainerNames, WithoutAServerSayWhyAndWhatToDo) {
    const auto local = container_names(parse("nameserver 127.0.0.1\n"), {}, true);
    EXPECT_THAT(local.servers, IsEmpty());
    EXPECT_THAT(local.resolv_conf,
                AllOf(StartsWith("# "), HasSubstr("127.0.0.1 listens"), HasSubstr("io.netkitd.dns")));
    EXPECT_EQ(std::ranges::count(local.resolv_conf, '\n'), 1);
    EXPECT_THAT(container_names(parse("nameserver 2001:db8::53\n"), {}, false).obstacle, HasSubstr("IPv6"));
    EXPECT_THAT(container_names({}, {}, true).obstacle, HasSubstr("names no server"));
}

}  // namespace
}  // namespace netkitd::link
