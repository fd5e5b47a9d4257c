// The pair of an endpoint, in veth mode, and what both modes share.
#include <gmock/gmock.h>

#include "harness/link_test.h"

namespace netkitd::link {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class PairTest : public test::LinkTest {
protected:
    // All zero if there is none.
    Device find(const std::string& name) { return find_device(host_socket(), name).value().value_or(Device()); }
};

TEST_F(PairTest, HasOneEndOnTheNodeAndTheOtherInTheContainerUnderItsFinalName) {
    const Result<Pair> pair = create(spec());
    ASSERT_TRUE(pair) << pair.error().message();

    const std::string host = node().run("ip -d link show nk12ab34cd");
    EXPECT_THAT(host, AllOf(HasSubstr("veth"), HasSubstr("mtu 1400"), HasSubstr("alias netkitd web-1 default"),
                            HasSubstr("group 28267"), HasSubstr("addrgenmode none"), HasSubstr("state DOWN"),
                            HasSubstr("numtxqueues 1 numrxqueues 1 "), HasSubstr(pair->host_mac.to_string())));
    const std::string peer = container().run("ip -d link show eth0");
    EXPECT_THAT(peer,
                AllOf(HasSubstr("veth"), HasSubstr("mtu 1400"), HasSubstr("addrgenmode none"), HasSubstr("state DOWN"),
                      HasSubstr("numtxqueues 1 numrxqueues 1 "), HasSubstr(pair->peer_mac.to_string())));
    EXPECT_TRUE(host.starts_with(formatted("{}: ", pair->host_ifindex))) << host;
    EXPECT_TRUE(peer.starts_with(formatted("{}: ", pair->peer_ifindex))) << peer;
    EXPECT_TRUE(pair->left_out.empty());
}

TEST_F(PairTest, GetsNoLinkLocalAddressWhenItComesUp) {
    ASSERT_TRUE(create(spec()));
    node().run("ip link set nk12ab34cd up");
    container().run("ip link set eth0 up");
    EXPECT_THAT(node().run("ip -6 addr show dev nk12ab34cd"), Not(HasSubstr("fe80")));
    EXPECT_THAT(container().run("ip -6 addr show dev eth0"), Not(HasSubstr("fe80")));
}

TEST_F(PairTest, IsMadeForAContainerWithoutIpv6) {
    container().run("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    const Result<Pair> pair = create(spec());
    ASSERT_TRUE(pair) << pair.error().message();
}

TEST_F(PairTest, IsMadeWithAnMtuThatIsTooSmallForIpv6) {
    PairSpec small = spec();
    small.mtu = 576;
    const Result<Pair> pair = create(small);
    ASSERT_TRUE(pair) << pair.error().message();
    EXPECT_THAT(container().run("ip link show eth0"), HasSubstr("mtu 576"));
}

TEST_F(PairTest, IsRefusedWithTheWayOutIfTheContainerHasThatInterface) {
    container().run("ip link add eth0 type bridge");
    const Result<Pair> pair = create(spec());
    ASSERT_FALSE(pair);
    EXPECT_EQ(pair.error().kind(), ErrorKind::refused);
    EXPECT_EQ(pair.error().system_error(), EEXIST);
    EXPECT_THAT(pair.error().message(), AllOf(HasSubstr("the container already has an interface eth0"),
                                              HasSubstr("--network none"), HasSubstr("io.netkitd.interface")));
    EXPECT_FALSE(node().succeeds("ip link show nk12ab34cd"));
}

TEST_F(PairTest, SaysSoIfTheNodeHasThatNameAndLeavesThatDeviceAlone) {
    node().run("ip link add nk12ab34cd type bridge && ip link set nk12ab34cd alias 'somebody else'");
    const std::string before = node().run("ip -d link show nk12ab34cd");
    const Result<Pair> pair = create(spec());
    ASSERT_FALSE(pair);
    EXPECT_EQ(pair.error().kind(), ErrorKind::internal);
    EXPECT_EQ(pair.error().system_error(), EEXIST);
    EXPECT_THAT(pair.error().message(),
                AllOf(HasSubstr("create veth pair nk12ab34cd/eth0: File exists"),
                      HasSubstr("this node already has a bridge device nk12ab34cd, alias 'somebody else'")));
    EXPECT_EQ(node().run("ip -d link show nk12ab34cd"), before);
    EXPECT_FALSE(container().succeeds("ip link show eth0"));
}

TEST_F(PairTest, IsRemovedAgainIfALaterStepFails) {
    // The container end's addr_gen_mode goes through this socket, which is of another container: no such device there.
    test::NetworkNamespace other;
    Netlink wrong = Netlink::open_in(other.fd()).value();
    const Result<Pair> pair = create_pair(host_socket(), wrong, spec());
    ASSERT_FALSE(pair);
    EXPECT_EQ(pair.error().system_error(), ENODEV) << pair.error().message();
    EXPECT_THAT(pair.error().message(), HasSubstr("create veth pair nk12ab34cd/eth0: set addr_gen_mode"));
    EXPECT_FALSE(node().succeeds("ip link show nk12ab34cd"));
    EXPECT_FALSE(container().succeeds("ip link show eth0"));
}

TEST_F(PairTest, RefusesWhatCannotBeAnInterfacesName) {
    for (const std::string& name : {std::string(), std::string("a/b"), std::string("eth 0"), std::string("eth%d"),
                                    std::string(".."), std::string("sixteen-bytes-xx"), std::string(70000, 'x')}) {
        PairSpec wrong = spec();
        wrong.peer_name = name;
        const Result<Pair> pair = create(wrong);
        ASSERT_FALSE(pair) << name;
        EXPECT_EQ(pair.error().kind(), ErrorKind::invalid) << pair.error().message();
        EXPECT_LT(pair.error().message().size(), 300U);
    }
}

TEST_F(PairTest, SaysWhatWasToBeMadeAndWhatTheKernelSaid) {
    PairSpec wrong = spec();
    wrong.mtu = 70000;
    const Result<Pair> pair = create(wrong);
    ASSERT_FALSE(pair);
    EXPECT_THAT(pair.error().message(), HasSubstr("create veth pair nk12ab34cd/eth0: Invalid argument"));
}

TEST_F(PairTest, RefusesADescriptorThatIsNoNetworkNamespace) {
    PairSpec wrong = spec();
    wrong.peer_netns = -1;
    EXPECT_FALSE(create(wrong));
    EXPECT_FALSE(node().succeeds("ip link show nk12ab34cd"));
}

TEST_F(PairTest, CutsAnAliasThatIsTooLong) {
    PairSpec wordy = spec();
    wordy.host_alias = std::string(1000, 'a');
    const Result<Pair> pair = create(wordy);
    ASSERT_TRUE(pair) << pair.error().message();
    EXPECT_EQ(find("nk12ab34cd").alias, std::string(255, 'a'));
}

TEST_F(PairTest, RemovingOneEndRemovesBothAndTwiceIsFine) {
    const Pair pair = create(spec()).value();
    EXPECT_TRUE(remove_device(host_socket(), pair.host_ifindex));
    EXPECT_FALSE(container().succeeds("ip link show eth0"));
    EXPECT_TRUE(remove_device(host_socket(), pair.host_ifindex));
}

TEST_F(PairTest, IsListedAndFoundByName) {
    const Pair pair = create(spec()).value();
    const Device found = find("nk12ab34cd");
    EXPECT_EQ(found.ifindex, pair.host_ifindex);
    EXPECT_EQ(found.kind, "veth");
    EXPECT_EQ(found.alias, "netkitd web-1 default");
    EXPECT_EQ(found.mtu, 1400U);
    EXPECT_FALSE(found.up);

    const auto devices = list_devices(host_socket());
    ASSERT_TRUE(devices);
    ASSERT_EQ(devices->size(), 2U);
    EXPECT_EQ(devices->at(0).name, "lo");
    EXPECT_TRUE(devices->at(0).up);
    EXPECT_EQ(devices->at(1).name, "nk12ab34cd");

    EXPECT_FALSE(find_device(host_socket(), "nothing0").value());
    EXPECT_FALSE(find_device(host_socket(), "a-name-longer-than-the-kernel-takes").value());
}

TEST(MacAddr, RandomOnesAreUnicastAndLocallyAdministered) {
    const MacAddr mac = MacAddr::random().value();
    EXPECT_EQ(mac.bytes[0] & 3, 2);
    EXPECT_NE(mac, MacAddr::random().value());
    EXPECT_EQ((MacAddr{{2, 0, 0xab, 0, 0, 1}}).to_string(), "02:00:ab:00:00:01");
}

TEST(DeviceMode, IsReadByTheNamesOfTheConfiguration) {
    EXPECT_EQ(parse_device_mode("netkit").value(), DeviceMode::netkit);
    EXPECT_EQ(parse_device_mode("netkit-l2").value(), DeviceMode::netkit_l2);
    EXPECT_EQ(parse_device_mode("veth").value(), DeviceMode::veth);
    EXPECT_FALSE(parse_device_mode("bridge"));
}

}  // namespace
}  // namespace netkitd::link
