// IPv6 of containers and of the host: what is given, what is changed on the host for it, and what is put back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "harness/node_test.h"
#include "harness/router_advertisement.h"
#include "node/host_changes.h"
#include "node/ipv6_forwarding.h"

namespace netkitd::test {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class Ipv6Test : public NodeTest {
protected:
    [[nodiscard]] std::string sysctl(const std::string& path) const {
        std::string value = node().run("cat /proc/sys/net/" + path);
        value.resize(value.find('\n'));
        return value;
    }
    void set(const std::string& path, const std::string& value) const {
        node().run("echo " + value + " > /proc/sys/net/" + path);
    }
    [[nodiscard]] std::string default_route() const { return node().run("ip -6 route show default"); }
    // The host has a default route that it learnt.
    void learn_default_route() const {
        advertise_router(outside(), "eth0");
        ASSERT_TRUE(
            node().succeeds("for i in $(seq 50); do ip -6 route show default | grep 'proto ra' && exit; "
                            "sleep 0.1; done; exit 1"));
    }
    // As --purge does.
    void restore_host() {
        link::Netlink host = link::Netlink::open().value();
        const auto restored = restore_host_changes(store(), host);
        ASSERT_TRUE(restored) << restored.error().message();
        EXPECT_THAT(*store().host_changes(), IsEmpty());
    }
};

AttachOptions with_address(const char* address) {
    AttachOptions options;
    options.ipv6 = *IpAddr::parse(address);
    return options;
}

TEST_F(Ipv6Test, AContainerGetsAnAddressAndADefaultRouteOfEitherFamily) {
    const NetworkNamespace web;
    const auto reply = attach(web, "web");
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_EQ(reply->record.address_text(), "10.77.0.2, fd6e:6b64::2");
    EXPECT_THAT(reply->notes, Not(Contains(HasSubstr("IPv4 only"))));
    EXPECT_THAT(web.run("ip -6 addr show dev eth0"),
                AllOf(HasSubstr("inet6 fd6e:6b64::2/128 scope global nodad"), Not(HasSubstr("fe80"))));
    EXPECT_THAT(web.run("ip -6 route"), HasSubstr("default via fd6e:6b64::1 dev eth0"));
    const std::string& host_end = reply->record.host_name;
    EXPECT_THAT(node().run("ip -6 route get fd6e:6b64::2"), HasSubstr("dev netkitd0 proto 120 src fd6e:6b64::1"));
    EXPECT_THAT(node().run("ip -6 addr show dev " + host_end), Not(HasSubstr("inet6")));
    EXPECT_THAT(node().run("ip -6 addr show dev netkitd0"), HasSubstr("fd6e:6b64::1/128"));
    EXPECT_THAT(*datapath().endpoints(),
                Contains(Field(&datapath::EndpointEntry::address, *IpAddr::parse("fd6e:6b64::2"))));
    EXPECT_EQ(manager().pool_use("default", IpFamily::v6).in_use, 1U);
    ASSERT_TRUE(manager().detach("web"));
    EXPECT_THAT(*datapath().endpoints(), IsEmpty());
    EXPECT_EQ(manager().pool_use("default", IpFamily::v6).in_use, 0U);
}

TEST_F(Ipv6Test, AContainerReachesTheHostOthersAndTheOutsideWhichDoesNotReachIt) {
    node().run("ip addr add 2001:db8:99::1/64 dev up0 nodad && ip -6 route add default via 2001:db8:99::2");
    outside().run("ip addr add 2001:db8:99::2/64 dev eth0 nodad && ip -6 route add fd6e:6b64::/64 via 2001:db8:99::1");
    start();
    const NetworkNamespace web;
    const NetworkNamespace db;
    ASSERT_TRUE(attach(web, "web"));
    ASSERT_TRUE(attach(db, "db"));
    for (const char* address : {"fd6e:6b64::1", "fd6e:6b64::3", "2001:db8:99::1", "2001:db8:99::2"}) {
        EXPECT_TRUE(web.reaches(address)) << address;
    }
    EXPECT_TRUE(node().reaches("fd6e:6b64::2"));
    EXPECT_TRUE(web.cannot_reach("fd6e:6b64::9"));
    EXPECT_TRUE(outside().cannot_reach("fd6e:6b64::2"));
    EXPECT_THAT(web.run("ping -n -c 1 -W 2 -t 1 2001:db8:99::2 || true"), HasSubstr("Time exceeded: Hop limit"));
    const auto counters = datapath().counters();
    ASSERT_TRUE(counters);
    for (const datapath::Counter& counter : *counters) {
        if (counter.name == "spoofed-source") {
            EXPECT_EQ(counter.packets, 0U) << "what an IPv6 stack sends by itself is no spoofing";
        }
    }
}

// An entry of that address that leads to this endpoint's device.
auto leads_to(const IpAddr& address, const EndpointRecord& record) {
    return AllOf(Field(&datapath::EndpointEntry::address, address),
                 Field(&datapath::EndpointEntry::host_ifindex, record.host_ifindex));
}

TEST_F(Ipv6Test, AStaticAddressIsGivenOnceAndMovesWithItsContainer) {
    const NetworkNamespace web;
    const NetworkNamespace db;
    const NetworkNamespace restarted;
    ASSERT_TRUE(attach(web, "web", with_address("fd6e:6b64::50")));
    const auto taken = attach(db, "db", with_address("fd6e:6b64::50"));
    ASSERT_FALSE(taken);
    EXPECT_THAT(taken.error().message(), AllOf(HasSubstr("io.netkitd.ipv6"), HasSubstr("fd6e:6b64::50 is in use")));
    const auto foreign = attach(db, "db", with_address("fd77::50"));
    ASSERT_FALSE(foreign);
    EXPECT_THAT(foreign.error().message(), HasSubstr("fd77::50 is not in fd6e:6b64::/64"));

    const auto moved = attach(restarted, "web", with_address("fd6e:6b64::50"));
    ASSERT_TRUE(moved) << moved.error().message();
    EXPECT_FALSE(web.succeeds("ip link show eth0"));
    EXPECT_THAT(*datapath().endpoints(),
                testing::UnorderedElementsAre(leads_to(*moved->record.ipv4, moved->record),
                                              leads_to(*IpAddr::parse("fd6e:6b64::50"), moved->record)));
}

TEST_F(Ipv6Test, AStepThatFailsWhileAStaticAddressMovesLeavesItWhereItWas) {
    const NetworkNamespace first;
    const NetworkNamespace second;
    second.run("ip link set lo up");
    const auto former = attach(first, "web", with_address("fd6e:6b64::50"));
    ASSERT_TRUE(former);
    const std::string before = snapshot(second);
    for (int number = 1;; ++number) {
        plumbing().fail_step(number);
        if (attach(second, "web", with_address("fd6e:6b64::50"))) {
            break;
        }
        EXPECT_EQ(snapshot(second), before) << "after " << plumbing().failed().value_or("nothing") << " failed";
        EXPECT_THAT(*datapath().endpoints(), Contains(leads_to(*IpAddr::parse("fd6e:6b64::50"), former->record)));
    }
}

TEST_F(Ipv6Test, AContainerThatTurnedItOffGetsIpv4OnlyAndIsTold) {
    for (const char* setting : {"all", "default"}) {
        const NetworkNamespace web;
        web.run(formatted("echo 1 > /proc/sys/net/ipv6/conf/{}/disable_ipv6", setting));
        const auto refused = attach(web, "web", with_address("fd6e:6b64::50"));
        ASSERT_FALSE(refused);
        EXPECT_THAT(refused.error().message(), AllOf(HasSubstr("io.netkitd.ipv6"), HasSubstr("disable_ipv6")));
        const auto reply = attach(web, "web");
        ASSERT_TRUE(reply) << reply.error().message();
        EXPECT_THAT(reply->notes, Contains(AllOf(HasSubstr("IPv4 only"), HasSubstr("disable_ipv6"))));
        EXPECT_EQ(reply->record.ipv6, std::nullopt);
        EXPECT_THAT(web.run("ip -4 addr show dev eth0"), HasSubstr("10.77.0."));
        ASSERT_TRUE(manager().detach("web"));
    }
    EXPECT_EQ(manager().pool_use("default", IpFamily::v6).in_use, 0U);
}

TEST_F(Ipv6Test, ANetworkWithoutAPrefixHasIpv4OnlyAndRefusesAnAddress) {
    config_.networks.front().ipv6.reset();
    start();
    const NetworkNamespace web;
    const auto refused = attach(web, "web", with_address("fd6e:6b64::50"));
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message(), HasSubstr("network default has no IPv6 prefix"));
    const auto reply = attach(web, "web");
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_EQ(reply->record.address_text(), "10.77.0.2");
    EXPECT_THAT(reply->notes, Not(Contains(HasSubstr("IPv4 only"))));
    EXPECT_EQ(sysctl("ipv6/conf/netkitd0/forwarding"), "0");
}

TEST_F(Ipv6Test, AHostThatTurnedItOffServesIpv4AndSaysWhy) {
    set("ipv6/conf/all/disable_ipv6", "1");
    start();
    const NetworkNamespace web;
    const auto reply = attach(web, "web");
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_THAT(reply->notes, Contains(HasSubstr("IPv4 only: IPv6 is turned off on this host")));
    EXPECT_EQ(reply->record.address_text(), "10.77.0.2");
}

TEST_F(Ipv6Test, AHostThatTurnsItOffLaterKeepsItsContainersIpv4OverARestart) {
    const NetworkNamespace web;
    ASSERT_TRUE(attach(web, "web"));
    set("ipv6/conf/all/disable_ipv6", "1");
    start();
    EXPECT_TRUE(web.reaches("198.51.100.2"));
    set("ipv6/conf/all/disable_ipv6", "0");
    start();
    EXPECT_THAT(node().run("ip -6 route get fd6e:6b64::2"), HasSubstr("dev netkitd0"));
}

TEST_F(Ipv6Test, ADefaultOfNewDevicesDoesNotKeepItFromContainers) {
    set("ipv6/conf/default/disable_ipv6", "1");
    const NetworkNamespace web;
    const auto reply = attach(web, "web");
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_THAT(node().run("ip -6 route get fd6e:6b64::2"), HasSubstr("dev netkitd0"));
}

TEST_F(Ipv6Test, OnlyTheHostDeviceForwardsWhereTheKernelCanDoThat) {
    if (!*kernel_forwards_by_device()) {
        GTEST_SKIP() << "before Linux 6.17 there is no force_forwarding";
    }
    const NetworkNamespace web;
    const auto reply = attach(web, "web");
    ASSERT_TRUE(reply);
    const std::string host_end = "ipv6/conf/netkitd0";
    EXPECT_EQ(sysctl(host_end + "/forwarding"), "1");
    EXPECT_EQ(sysctl(host_end + "/force_forwarding"), "1");
    EXPECT_EQ(sysctl(host_end + "/accept_ra"), "0");
    for (const std::string& other :
         {std::string("all"), std::string("default"), std::string("up0"), std::string("lo"), reply->record.host_name}) {
        EXPECT_EQ(sysctl(formatted("ipv6/conf/{}/forwarding", other)), "0") << other;
        EXPECT_EQ(sysctl(formatted("ipv6/conf/{}/force_forwarding", other)), "0") << other;
    }
}

TEST_F(Ipv6Test, ForwardingThatIsTurnedOffIsTurnedOnAgain) {
    set("ipv6/conf/all/forwarding", "0");
    EXPECT_EQ(sysctl("ipv6/conf/netkitd0/forwarding"), "0");
    ASSERT_TRUE(network().sync(config_));
    EXPECT_EQ(sysctl("ipv6/conf/netkitd0/forwarding"), "1");
}

// Why accept_ra=2 must be there first: what the kernel does otherwise.
TEST_F(Ipv6Test, KernelForgetsALearntDefaultRouteWhenAnyDeviceForwards) {
    learn_default_route();
    set("ipv6/conf/up0/accept_ra", "1");
    node().run("ip link add other type veth peer name other1");
    set("ipv6/conf/other/forwarding", "1");
    EXPECT_THAT(default_route(), IsEmpty());
}

TEST_F(Ipv6Test, ALearntDefaultRouteSurvivesContainersAndThePurge) {
    learn_default_route();
    start();
    EXPECT_EQ(sysctl("ipv6/conf/up0/accept_ra"), "2");
    const NetworkNamespace web;
    ASSERT_TRUE(attach(web, "web"));
    EXPECT_THAT(default_route(), HasSubstr("via fe80::1 dev up0 proto ra"));
    ASSERT_TRUE(manager().detach("web"));
    restore_host();
    EXPECT_EQ(sysctl("ipv6/conf/up0/accept_ra"), "1");
    EXPECT_THAT(default_route(), HasSubstr("via fe80::1 dev up0 proto ra"));
}

TEST_F(Ipv6Test, AnUplinkThatTakesNoAdvertisementsIsLeftAlone) {
    restore_host();
    set("ipv6/conf/up0/accept_ra", "0");
    start();
    EXPECT_EQ(sysctl("ipv6/conf/up0/accept_ra"), "0");
    set("ipv6/conf/up0/accept_ra", "1");
    set("ipv6/conf/up0/forwarding", "1");
    start();
    EXPECT_EQ(sysctl("ipv6/conf/up0/accept_ra"), "1");
}

// Or a container of another runtime's could become the host's router.
TEST_F(Ipv6Test, SoIsABridgeOfAnothers) {
    node().run("ip link add theirs0 type bridge && ip link set theirs0 up && ip addr add 203.0.113.1/24 dev theirs0");
    start();
    EXPECT_EQ(sysctl("ipv6/conf/theirs0/accept_ra"), "1");
    node().run("ip route del default");
    start();
    EXPECT_EQ(sysctl("ipv6/conf/theirs0/accept_ra"), "1") << "nor where there is no way out";
}

TEST_F(Ipv6Test, WhereTheWholeHostMustForwardNoDeviceBecomesARouter) {
    node().run("ip link add router type veth peer name router1 && ip link add host type veth peer name host1");
    set("ipv6/conf/router/forwarding", "1");
    learn_default_route();
    start();
    const auto done = forward_everywhere(store());
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_EQ(sysctl("ipv6/conf/all/forwarding"), "1");
    EXPECT_EQ(sysctl("ipv6/conf/router/forwarding"), "1");
    for (const char* other : {"default", "host", "up0", "lo"}) {
        EXPECT_EQ(sysctl(formatted("ipv6/conf/{}/forwarding", other)), "0") << other;
    }
    EXPECT_THAT(default_route(), HasSubstr("via fe80::1 dev up0 proto ra"));
    node().run("ip link add later type veth peer name later1");
    EXPECT_EQ(sysctl("ipv6/conf/later/forwarding"), "0");
    set("ipv6/conf/later/forwarding", "1");
    ASSERT_TRUE(forward_everywhere(store()));
    EXPECT_EQ(sysctl("ipv6/conf/later/forwarding"), "1") << "set by somebody else, after ours";

    restore_host();
    EXPECT_EQ(sysctl("ipv6/conf/all/forwarding"), "0");
    EXPECT_EQ(sysctl("ipv6/conf/router/forwarding"), "1");
    EXPECT_EQ(sysctl("ipv6/conf/later/forwarding"), "1");
    EXPECT_EQ(sysctl("ipv6/conf/host/forwarding"), "0");
    EXPECT_THAT(default_route(), HasSubstr("via fe80::1 dev up0 proto ra"));
}

TEST_F(Ipv6Test, AHostThatForwardsAlreadyIsLeftAsItIs) {
    restore_host();
    set("ipv6/conf/all/forwarding", "1");
    ASSERT_TRUE(forward_everywhere(store()));
    EXPECT_EQ(sysctl("ipv6/conf/up0/forwarding"), "1");
    restore_host();
    EXPECT_EQ(sysctl("ipv6/conf/all/forwarding"), "1");
}

TEST_F(Ipv6Test, AKillWhileForwardingWasTurnedOnIsMadeGoodByTheNextStart) {
    // What it leaves: the records, and every device flipped.
    ASSERT_TRUE(record_sysctl(store(), "ipv6/conf/up0/forwarding", "0", "0"));
    ASSERT_TRUE(record_sysctl(store(), "ipv6/conf/gone/forwarding", "0", "0"));
    ASSERT_TRUE(change_sysctl(store(), "ipv6/conf/all/forwarding", "0", "1"));
    EXPECT_EQ(sysctl("ipv6/conf/up0/forwarding"), "1");
    ASSERT_TRUE(forward_everywhere(store()));
    EXPECT_EQ(sysctl("ipv6/conf/up0/forwarding"), "0");
    EXPECT_EQ(sysctl("ipv6/conf/all/forwarding"), "1");
    restore_host();
    EXPECT_EQ(sysctl("ipv6/conf/all/forwarding"), "0");
}

TEST_F(Ipv6Test, ADeviceThatIsGoneDoesNotKeepThePurgeFromTheRest) {
    ASSERT_TRUE(record_sysctl(store(), "ipv6/conf/gone/accept_ra", "1", "2"));
    restore_host();
}

TEST_F(Ipv6Test, ARestartTakesUpBothAddresses) {
    const NetworkNamespace web;
    ASSERT_TRUE(attach(web, "web"));
    start();
    ASSERT_NE(manager().find_container("web"), nullptr);
    EXPECT_EQ(manager().find_container("web")->record.address_text(), "10.77.0.2, fd6e:6b64::2");
    const NetworkNamespace db;
    EXPECT_EQ(attach(db, "db")->record.address_text(), "10.77.0.3, fd6e:6b64::3");
}

TEST_F(Ipv6Test, ANetworkMayGetItsPrefixWhileContainersRunAndKeepsItWhileTheyHaveIt) {
    config_.networks.front().ipv6.reset();
    start();
    const NetworkNamespace old;
    ASSERT_TRUE(attach(old, "old"));
    ASSERT_TRUE(manager().reconfigure(default_config()));
    ASSERT_TRUE(network().sync(default_config()));
    const NetworkNamespace web;
    EXPECT_EQ(attach(web, "web")->record.ipv6->to_string(), "fd6e:6b64::2");
    EXPECT_EQ(manager().find_container("old")->record.ipv6, std::nullopt);
    const auto refused = manager().reconfigure(config_);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message(), HasSubstr("container web"));
}

}  // namespace
}  // namespace netkitd::test
