// What the configuration says about where packets may go and with which address, as containers and the outside see it:
// networks that are routed, masqueraded with an address of their own, or isolated, and destinations that are not
// masqueraded. On a host that does not forward.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <csignal>
#include <cstring>
#include <fstream>

#include "harness/daemon_test.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr const char* kPort = "4000";
constexpr int kPatienceMs = 3000;

struct Name {
    sockaddr_storage storage{};
    socklen_t size = sizeof(storage);
    [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
    [[nodiscard]] std::string address() {
        std::array<char, NI_MAXHOST> text{};
        ::getnameinfo(get(), size, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST);
        return text.data();
    }
    // It is at the same place in both families' structures.
    [[nodiscard]] std::uint16_t port() const {
        sockaddr_in name{};
        std::memcpy(&name, &storage, sizeof(name));
        return ntohs(name.sin_port);
    }
};

Name name_of(const std::string& address) {
    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    EXPECT_EQ(::getaddrinfo(address.c_str(), kPort, &hints, &found), 0) << address;
    Name name{.storage = {}, .size = found->ai_addrlen};
    std::memcpy(&name.storage, found->ai_addr, name.size);
    ::freeaddrinfo(found);
    return name;
}

UniqueFd datagram_socket(const NetworkNamespace& netns, Name& address) {
    UniqueFd fd;
    netns.inside([&] { fd.reset(::socket(address.get()->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0)); });
    return fd;
}

bool readable(int fd) {
    pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&wait, 1, kPatienceMs) == 1;
}

// A datagram goes from one to the other, and its answer back: the source that the other saw. "nothing" if it did not
// arrive, "no answer" if the answer did not.
std::string source_seen(const NetworkNamespace& from, const NetworkNamespace& to, const std::string& address) {
    Name server_name = name_of(address);
    const UniqueFd server = datagram_socket(to, server_name);
    const UniqueFd client = datagram_socket(from, server_name);
    EXPECT_EQ(::bind(server.get(), server_name.get(), server_name.size), 0) << std::strerror(errno);
    EXPECT_EQ(::connect(client.get(), server_name.get(), server_name.size), 0) << std::strerror(errno);
    Name seen;
    std::array<char, 16> data{};
    if (::send(client.get(), "hello", 5, 0) != 5 || !readable(server.get()) ||
        ::recvfrom(server.get(), data.data(), data.size(), 0, seen.get(), &seen.size) != 5) {
        return "nothing";
    }
    ::sendto(server.get(), data.data(), 5, 0, seen.get(), seen.size);
    return readable(client.get()) ? seen.address() : "no answer";
}

// One datagram after the other and their answers, between the same two sockets.
class Conversation {
public:
    Conversation(const NetworkNamespace& from, const NetworkNamespace& to, const std::string& address)
        : remote_(name_of(address)), server_(datagram_socket(to, remote_)), client_(datagram_socket(from, remote_)) {
        EXPECT_EQ(::bind(server_.get(), remote_.get(), remote_.size), 0) << std::strerror(errno);
        EXPECT_EQ(::connect(client_.get(), remote_.get(), remote_.size), 0) << std::strerror(errno);
    }
    // The source that the other sees of the next one; "nothing" and "no answer" as above.
    std::string next() {
        std::array<char, 16> data{};
        ::send(client_.get(), "hello", 5, 0);
        if (!readable(server_.get())) {
            return "nothing";
        }
        seen_ = {};
        ::recvfrom(server_.get(), data.data(), data.size(), 0, seen_.get(), &seen_.size);
        ::sendto(server_.get(), data.data(), 5, 0, seen_.get(), seen_.size);
        return readable(client_.get()) && ::recv(client_.get(), data.data(), data.size(), 0) == 5 ? seen_.address()
                                                                                                  : "no answer";
    }
    // Of what next() saw.
    [[nodiscard]] std::uint16_t port() const { return seen_.port(); }

private:
    Name remote_;
    UniqueFd server_;
    UniqueFd client_;
    Name seen_;
};

// Outside are two machines, one behind the other: 198.51.100.2 and 2001:db8::2, then 192.0.2.9 and 2001:db8:9::9. Both
// know a route to every container's address.
class PolicyTest : public DaemonTest {
protected:
    void SetUp() override {
        DaemonTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        node().run("ip addr add 2001:db8::1/64 dev up0 nodad && ip route add default via 2001:db8::2");
        outside().run(
            "ip link set lo up; ip addr add 2001:db8::2/64 dev eth0 nodad;"
            "ip addr add 192.0.2.9/32 dev lo; ip addr add 2001:db8:9::9/128 dev lo;"
            "ip route add 10.0.0.0/8 via 198.51.100.1; ip route add fd00::/8 via 2001:db8::1;"
            "ip route add 2001:db8:77::/64 via 2001:db8::1");
    }

    void configure(const std::string& text) const { std::ofstream(scratch("netkitd.json")) << text; }
    void reconfigure(const std::string& text) {
        configure(text);
        const std::size_t before = count_in_log("configuration read again");
        signal(SIGHUP);
        ASSERT_TRUE(eventually([&] { return count_in_log("configuration read again") > before; })) << log();
    }
    [[nodiscard]] std::size_t count_in_log(const std::string& text) const {
        const std::string all = log();
        std::size_t count = 0;
        for (auto at = all.find(text); at != std::string::npos; at = all.find(text, at + 1)) {
            ++count;
        }
        return count;
    }
    [[nodiscard]] Result<json> flush(const ipc::FlowSelection& flows, bool all = false) const {
        ipc::Request request{.operation = ipc::Operation::flow_flush};
        request.flows = flows;
        request.all = all;
        return call(request);
    }
    [[nodiscard]] std::size_t flows(const ipc::FlowSelection& selection = {}) const {
        ipc::Request request{.operation = ipc::Operation::flow_list};
        request.flows = selection;
        return call(request).value().at("flows").size();
    }
};

constexpr const char* kTwoCidrs = R"({"masquerade": {"non_masquerade_cidrs": ["198.51.100.0/24", "2001:db8::/64"]}})";

TEST_F(PolicyTest, ADestinationThatIsNotMasqueradedSeesTheContainerAndMayCallIt) {
    configure(kTwoCidrs);
    ASSERT_TRUE(start());
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    EXPECT_EQ(source_seen(web.netns(), outside(), "198.51.100.2"), "10.77.0.2");
    EXPECT_EQ(source_seen(web.netns(), outside(), "2001:db8::2"), "fd6e:6b64::2");
    EXPECT_EQ(source_seen(web.netns(), outside(), "192.0.2.9"), "198.51.100.1");
    EXPECT_EQ(source_seen(web.netns(), outside(), "2001:db8:9::9"), "2001:db8::1");
    EXPECT_EQ(source_seen(outside(), web.netns(), "10.77.0.2"), "198.51.100.2");
    EXPECT_EQ(source_seen(outside(), web.netns(), "fd6e:6b64::2"), "2001:db8::2");
    EXPECT_TRUE(outside().reaches("10.77.0.2", "198.51.100.2"));
    EXPECT_TRUE(outside().reaches("fd6e:6b64::2", "2001:db8::2"));
    EXPECT_EQ(counted("unsolicited"), 0U);
    EXPECT_TRUE(outside().cannot_reach("10.77.0.2", "192.0.2.9"));
    EXPECT_TRUE(outside().cannot_reach("fd6e:6b64::2", "2001:db8:9::9"));
    EXPECT_TRUE(outside().cannot_reach("10.77.0.1", "198.51.100.2")) << "the gateway is the host's, for containers";
    EXPECT_EQ(counted("unsolicited"), 3U);
    EXPECT_EQ(counted("untranslated-source"), 0U);
    EXPECT_THAT(status().at("masquerading").at("non_masquerade_cidrs").dump(), HasSubstr("198.51.100.0/24"));
}

// Also while traffic goes to a prefix that stays.
TEST_F(PolicyTest, AChangeOfTheDestinationsTakesEffectAtAReloadAndEndsNothing) {
    configure(kTwoCidrs);
    ASSERT_TRUE(start());
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    Conversation conversation(web.netns(), outside(), "192.0.2.9");
    ASSERT_EQ(conversation.next(), "198.51.100.1");

    reconfigure(R"({"masquerade": {"non_masquerade_cidrs": ["192.0.2.0/24", "198.51.100.0/24"]}})");
    EXPECT_EQ(conversation.next(), "198.51.100.1") << "what is established goes on";
    EXPECT_EQ(flush({.destination = *IpPrefix::parse("192.0.2.0/24")})->at("flushed"), 1);
    EXPECT_EQ(conversation.next(), "10.77.0.2");
    EXPECT_EQ(source_seen(web.netns(), outside(), "198.51.100.2"), "10.77.0.2") << "a prefix that stays";
    EXPECT_EQ(source_seen(web.netns(), outside(), "2001:db8::2"), "2001:db8::1") << "one that went";
    EXPECT_TRUE(outside().cannot_reach("fd6e:6b64::2", "2001:db8::2"));

    reconfigure("{}");
    EXPECT_EQ(conversation.next(), "198.51.100.1");
}

TEST_F(PolicyTest, AFlowEndsWhenThePoolDoesNotHoldItsPortAnyMore) {
    constexpr const char* kLow = R"({"masquerade": {"ports": "20000-29999"}})";
    constexpr const char* kWide = R"({"masquerade": {"ports": "20000-55000"}})";
    constexpr const char* kHigh = R"({"masquerade": {"ports": "40000-49999"}})";
    ASSERT_TRUE(start());
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    for (const auto& [remote, own] : {std::pair("192.0.2.9", "198.51.100.1"), {"2001:db8:9::9", "2001:db8::1"}}) {
        SCOPED_TRACE(remote);
        reconfigure("{}");
        Conversation conversation(web.netns(), outside(), remote);
        ASSERT_EQ(conversation.next(), own);
        const std::uint16_t first = conversation.port();
        ASSERT_GE(first, 49152);
        reconfigure(kLow);
        EXPECT_EQ(flows(), 0U);
        EXPECT_EQ(conversation.next(), own) << "with another port";
        const std::uint16_t low = conversation.port();
        EXPECT_THAT(low, testing::AllOf(testing::Ge(20000), testing::Le(29999)));
        reconfigure(kWide);
        EXPECT_EQ(conversation.next(), own);
        EXPECT_EQ(conversation.port(), low) << "what the pool still holds goes on";
        stop(SIGTERM);
        configure(kHigh);
        ASSERT_TRUE(start());
        EXPECT_EQ(conversation.next(), own) << "after a restart";
        EXPECT_THAT(conversation.port(), testing::AllOf(testing::Ge(40000), testing::Le(49999)));
    }
}

TEST_F(PolicyTest, ARoutedNetworkIsOpenInBothDirectionsWithoutTheHostsForwarding) {
    configure(R"({"networks": {"default": {"masquerade": false},
                  "mixed": {"ipv4": "10.80.0.0/24", "ipv6": "2001:db8:77::/64", "masquerade": {"ipv6": false}}}})");
    ASSERT_TRUE(start());
    const ContainerProcess web;
    const ContainerProcess mixed;
    ASSERT_TRUE(attach(web, "web"));
    ASSERT_TRUE(attach(mixed, "mixed", {{"io.netkitd.network", "mixed"}}));
    ASSERT_THAT(node().run("cat /proc/sys/net/ipv4/ip_forward"), HasSubstr("0"));
    EXPECT_EQ(source_seen(web.netns(), outside(), "192.0.2.9"), "10.77.0.2");
    EXPECT_EQ(source_seen(web.netns(), outside(), "2001:db8:9::9"), "fd6e:6b64::2");
    EXPECT_EQ(source_seen(outside(), web.netns(), "10.77.0.2"), "198.51.100.2");
    EXPECT_TRUE(outside().reaches("10.77.0.2", "192.0.2.9"));
    EXPECT_TRUE(outside().reaches("fd6e:6b64::2", "2001:db8:9::9"));
    EXPECT_EQ(source_seen(mixed.netns(), outside(), "192.0.2.9"), "198.51.100.1");
    EXPECT_EQ(source_seen(mixed.netns(), outside(), "2001:db8:9::9"), "2001:db8:77::2");
    EXPECT_TRUE(outside().reaches("2001:db8:77::2", "2001:db8:9::9"));
    EXPECT_TRUE(outside().cannot_reach("10.80.0.2", "192.0.2.9"));
    const json networks = status().at("networks");
    EXPECT_EQ(networks[0].at("masquerade4"), false);
    EXPECT_EQ(networks[1].at("masquerade4"), true);
    EXPECT_EQ(networks[1].at("masquerade6"), false);
    EXPECT_EQ(status().at("masquerading").at("networks"), json::array({"10.80.0.0/24"}));
}

TEST_F(PolicyTest, AnIsolatedNetworkReachesTheOutsideAndItselfOnly) {
    configure(R"({"networks": {"web": {"ipv4": "10.80.0.0/24", "ipv6": "fd12::/64", "isolated": true}}})");
    ASSERT_TRUE(start());
    const ContainerProcess one;
    const ContainerProcess two;
    const ContainerProcess other;
    ASSERT_TRUE(attach(one, "one", {{"io.netkitd.network", "web"}}));
    ASSERT_TRUE(attach(two, "two", {{"io.netkitd.network", "web"}}));
    ASSERT_TRUE(attach(other, "other"));
    for (const char* address :
         {"10.80.0.3", "fd12::3", "10.80.0.1", "fd12::1", "198.51.100.1", "198.51.100.2", "2001:db8::2"}) {
        EXPECT_TRUE(one.netns().reaches(address)) << address;
    }
    EXPECT_TRUE(node().reaches("10.80.0.2"));
    EXPECT_EQ(counted("isolated"), 0U);
    const std::vector<std::string> elsewhere{"10.77.0.2", "fd6e:6b64::2", "10.77.0.1", "fd6e:6b64::1", "10.77.0.99"};
    for (const std::string& address : elsewhere) {
        EXPECT_FALSE(one.netns().succeeds("ping -n -c 1 -W 1 " + address)) << address;
    }
    const std::vector<std::string> isolated{"10.80.0.2", "fd12::2", "10.80.0.1", "10.80.0.99"};
    for (const std::string& address : isolated) {
        EXPECT_FALSE(other.netns().succeeds("ping -n -c 1 -W 1 " + address)) << address;
    }
    EXPECT_EQ(counted("isolated"), elsewhere.size() + isolated.size());
    reconfigure(R"({"networks": {"web": {"ipv4": "10.80.0.0/24", "ipv6": "fd12::/64"}}})");
    EXPECT_TRUE(one.netns().reaches("10.77.0.2"));
    EXPECT_TRUE(other.netns().reaches("fd12::2"));
}

TEST_F(PolicyTest, ANetworksOwnSourceIsWaitedForAndNamed) {
    configure(R"({"networks": {"web": {"ipv4": "10.80.0.0/24", "ipv6": "fd12::/64",
                  "masquerade": {"ipv4": "198.51.100.7", "ipv6": "2001:db8::7"}}}})");
    ASSERT_TRUE(start());
    const ContainerProcess web;
    const ContainerProcess other;
    ASSERT_TRUE(attach(web, "web", {{"io.netkitd.network", "web"}}));
    ASSERT_TRUE(attach(other, "other"));
    EXPECT_THAT(status().at("degraded").dump(),
                testing::AllOf(HasSubstr("network web: 198.51.100.7"), HasSubstr("network web: 2001:db8::7")));
    EXPECT_EQ(source_seen(web.netns(), outside(), "192.0.2.9"), "nothing");
    EXPECT_EQ(source_seen(web.netns(), outside(), "2001:db8:9::9"), "nothing");
    EXPECT_EQ(counted("no-source-address"), 2U);
    EXPECT_EQ(source_seen(other.netns(), outside(), "192.0.2.9"), "198.51.100.1") << "the others go on";
    node().run("ip addr add 198.51.100.7/24 dev up0; ip addr add 2001:db8::7/64 dev up0 nodad");
    EXPECT_TRUE(
        eventually([&] { return status().at("degraded").empty() || !status().at("degraded").dump().contains("web"); }));
    EXPECT_EQ(source_seen(web.netns(), outside(), "192.0.2.9"), "198.51.100.7");
    EXPECT_EQ(source_seen(web.netns(), outside(), "2001:db8:9::9"), "2001:db8::7");
    EXPECT_EQ(source_seen(other.netns(), outside(), "192.0.2.9"), "198.51.100.1") << "as the route says";
    node().run("ip addr del 198.51.100.7/24 dev up0");
    EXPECT_TRUE(eventually([&] { return status().at("degraded").dump().contains("198.51.100.7"); }));
    EXPECT_EQ(status().at("networks")[0].at("source4"), "198.51.100.7");
}

TEST_F(PolicyTest, FlowsAreListedAndFlushedByEndpointProtocolAndDestination) {
    ASSERT_TRUE(start());
    const ContainerProcess web;
    const ContainerProcess db;
    ASSERT_TRUE(attach(web, "web-1"));
    ASSERT_TRUE(attach(db, "db-1"));
    ASSERT_EQ(source_seen(web.netns(), outside(), "192.0.2.9"), "198.51.100.1");
    ASSERT_EQ(source_seen(web.netns(), outside(), "198.51.100.2"), "198.51.100.1");
    ASSERT_EQ(source_seen(db.netns(), outside(), "2001:db8:9::9"), "2001:db8::1");
    ASSERT_TRUE(db.netns().reaches("192.0.2.9"));
    EXPECT_EQ(flows(), 4U);
    EXPECT_EQ(flows({.endpoint = "web-1"}), 2U);
    EXPECT_EQ(flows({.endpoint = "we"}), 2U) << "the beginning of an id";
    EXPECT_EQ(flows({.endpoint = std::to_string(endpoints()[0].at("id").get<int>())}), 2U);
    EXPECT_EQ(flows({.protocol = IPPROTO_ICMP}), 1U);
    EXPECT_EQ(flows({.destination = *IpPrefix::parse("192.0.2.0/24")}), 2U);
    EXPECT_EQ(flows({.destination = *IpPrefix::parse("192.0.2.0/24"), .port = 4000}), 1U);
    EXPECT_EQ(flows({.destination = *IpPrefix::parse("2001:db8:9::/48")}), 1U);
    const auto unknown = flush({.endpoint = "nobody"});
    ASSERT_FALSE(unknown);
    EXPECT_THAT(unknown.error().message(), HasSubstr("netkitctl endpoint list"));
    EXPECT_EQ(flush({.endpoint = "web-1", .protocol = IPPROTO_TCP})->at("flushed"), 0);
    EXPECT_EQ(flush({.endpoint = "web-1"})->at("flushed"), 2);
    EXPECT_EQ(flows(), 2U);
    EXPECT_EQ(flush({}, true)->at("flushed"), 2);
    EXPECT_EQ(flows(), 0U);
}

TEST_F(PolicyTest, WhatANetworkInUseHasToKeepIsSaid) {
    configure(R"({"networks": {"web": {"ipv4": "10.80.0.0/16", "ipv6": "fd12:3456::/64"}}})");
    ASSERT_TRUE(start());
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web", {{"io.netkitd.network", "web"}}));
    configure(R"({"networks": {"web": {"ipv4": "10.80.0.0/16"}}})");
    signal(SIGHUP);
    EXPECT_TRUE(eventually([&] {
        return status().at("last_errors").dump().contains("its ipv6 fd12:3456::/64 is missing");
    })) << status().at("last_errors").dump();
}

TEST_F(PolicyTest, AConfigurationThatIsWrongChangesNothing) {
    configure(kTwoCidrs);
    ASSERT_TRUE(start());
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    configure(R"({"masquerade": {"non_masquerade_cidrs": ["198.51.100.0/33"]}})");
    signal(SIGHUP);
    EXPECT_TRUE(eventually([&] { return !status().at("last_errors").empty(); }));
    EXPECT_THAT(status().at("last_errors").dump(),
                testing::AllOf(HasSubstr("netkitd.json: masquerade.non_masquerade_cidrs[0]: '33'")));
    EXPECT_EQ(source_seen(web.netns(), outside(), "198.51.100.2"), "10.77.0.2");
}

}  // namespace
}  // namespace netkitd::test
