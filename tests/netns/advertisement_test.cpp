// What a router says of itself on a link (RFC 4861), which anybody there can, takes nothing from containers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <string>

#include "base/format.h"
#include "harness/daemon_test.h"
#include "harness/router_advertisement.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;

class AdvertisementTest : public DaemonTest {
protected:
    // The host heeds it.
    void let_advertise(const std::string& prefix) const {
        node().run("sysctl -qw net.ipv6.conf.up0.accept_ra=2");
        advertise_prefix(outside(), "eth0", prefix);
        ASSERT_TRUE(eventually([&] {
            return node().run(formatted("ip -6 route show {} dev up0", prefix)).contains("proto kernel");
        })) << node().run("ip -6 route");
    }
    [[nodiscard]] std::string address_of(const ContainerProcess& container, const std::string& id) const {
        const auto reply = attach(container, id);
        EXPECT_TRUE(reply) << reply.error().message();
        return reply ? reply->at("ipv6").get<std::string>() : "";
    }

    const ContainerProcess web_;
    const ContainerProcess db_;
};

TEST_F(AdvertisementTest, AContainersAddressIsNotTaken) {
    ASSERT_TRUE(start());
    const std::string web = address_of(web_, "web");
    ASSERT_FALSE(address_of(db_, "db").empty());
    let_advertise(web + "/128");
    ASSERT_TRUE(eventually([&] {
        return testing::Matches(Contains(AllOf(HasSubstr(web), HasSubstr("which a router there advertises"))))(
            degraded());
    })) << status().dump();
    EXPECT_TRUE(db_.netns().reaches(web));
}

TEST_F(AdvertisementTest, TheGatewayStays) {
    ASSERT_TRUE(start());
    ASSERT_FALSE(address_of(web_, "web").empty());
    let_advertise("fd6e:6b64::/64");
    ASSERT_TRUE(eventually(
        [&] { return testing::Matches(Contains(HasSubstr("which a router there advertises")))(degraded()); }));
    EXPECT_THAT(node().run("ip -6 addr show dev netkitd0"), HasSubstr("fd6e:6b64::1/128"));
    EXPECT_THAT(degraded(), testing::Not(Contains(HasSubstr("the gateway fd6e:6b64::1"))));
}

// Though it is around an address that the host has been given on that link.
TEST_F(AdvertisementTest, NorDoesAWiderPrefixTakeTheGateway) {
    node().run("ip addr add fd00:1::99/64 dev up0 nodad");
    ASSERT_TRUE(start());
    ASSERT_FALSE(address_of(web_, "web").empty());
    let_advertise("fd00::/8");
    const NetworkNamespace late;
    connect(node(), "late0", late, "eth0");
    node().run("ip addr add 192.0.2.1/24 dev late0");
    ASSERT_TRUE(comes_to_be_an_uplink("late0")) << "it has looked again";
    EXPECT_THAT(node().run("ip -6 addr show dev netkitd0"), HasSubstr("fd6e:6b64::1/128"));
}

TEST_F(AdvertisementTest, AStartIsNotRefused) {
    let_advertise("fd6e:6b64::/64");
    ASSERT_TRUE(start()) << log();
    EXPECT_EQ(address_of(web_, "web"), "fd6e:6b64::2");
    EXPECT_EQ(address_of(db_, "db"), "fd6e:6b64::3");
    EXPECT_TRUE(web_.netns().reaches("fd6e:6b64::3"));
}

// A network manager's own address has no end where the router says so.
TEST_F(AdvertisementTest, NorForAnAddressThatAManagerMadeOfIt) {
    node().run(
        "ip addr add fd6e:6b64::99/64 dev up0 nodad noprefixroute && "
        "ip -6 route add fd6e:6b64::/64 dev up0 proto ra");
    ASSERT_TRUE(start()) << log();
    EXPECT_EQ(address_of(web_, "web"), "fd6e:6b64::2");
}

// What an administrator has given to a link is the host's.
TEST_F(AdvertisementTest, AnAddressThatIsConfiguredIsAClaimNevertheless) {
    node().run("ip addr add fd6e:6b64::99/64 dev up0 nodad");
    ASSERT_TRUE(start()) << log();
    EXPECT_THAT(address_of(web_, "web"), testing::Not(HasSubstr("fd6e:6b64::2")));
}

// As at boot: the kernel asks the link for a while whether somebody else has it.
TEST_F(AdvertisementTest, SoIsOneThatIsTentative) {
    node().run(
        "sysctl -qw net.ipv6.conf.up0.accept_dad=1 net.ipv6.conf.up0.dad_transmits=60; "
        "ip addr add fd6e:6b64::99/64 dev up0");
    ASSERT_TRUE(start()) << log();
    EXPECT_THAT(address_of(web_, "web"), testing::Not(HasSubstr("fd6e:6b64::2")));
}

TEST_F(AdvertisementTest, SoIsTheOtherEndOfAPointToPointLink) {
    node().run("ip addr add fd00:aa::1 peer fd6e:6b64::2/128 dev up0 nodad");
    ASSERT_TRUE(start()) << log();
    EXPECT_THAT(address_of(web_, "web"), testing::Not(HasSubstr("fd6e:6b64::2")));
}

}  // namespace
}  // namespace netkitd::test
