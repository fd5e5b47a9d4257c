// What the event loop is told about devices, addresses and routes.
#include "netlink/monitor.h"

#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>

#include "harness/netns.h"
#include "link/device.h"

namespace netkitd::link {

// For gtest's messages.
static void PrintTo(const LinkEvent& event, std::ostream* out) {
    *out << "kind " << static_cast<int>(event.kind) << " ifindex " << event.ifindex;
}

namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Field;
using ::testing::IsEmpty;
using ::testing::Not;
using Kind = LinkEvent::Kind;

auto is(Kind kind) {
    return Field("kind", &LinkEvent::kind, kind);
}
auto is(Kind kind, std::uint32_t ifindex) {
    return AllOf(Field("kind", &LinkEvent::kind, kind), Field("ifindex", &LinkEvent::ifindex, ifindex));
}

class MonitorTest : public test::NetnsTest {
protected:
    void SetUp() override {
        NetnsTest::SetUp();
        if (!IsSkipped()) {
            socket_ = std::make_unique<Netlink>(Netlink::open().value());
        }
    }
    [[nodiscard]] std::uint32_t index_of(const std::string& name) {
        return find_device(*socket_, name).value().value_or(Device()).ifindex;
    }

private:
    std::unique_ptr<Netlink> socket_;
};

std::vector<LinkEvent> read(Monitor& monitor) {
    auto events = monitor.read();
    EXPECT_TRUE(events) << events.error().message();
    return std::move(events).value_or(std::vector<LinkEvent>());
}

// Events until one of `kind` about `ifindex` came, for at most ten seconds.
bool comes(Monitor& monitor, Kind kind, std::uint32_t ifindex) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (std::chrono::steady_clock::now() < deadline) {
        pollfd poll_fd{.fd = monitor.fd(), .events = POLLIN, .revents = 0};
        ::poll(&poll_fd, 1, 100);
        for (const LinkEvent& event : read(monitor)) {
            if (event.kind == kind && event.ifindex == ifindex) {
                return true;
            }
        }
    }
    return false;
}

void set_receive_buffer(const Monitor& monitor, int bytes) {
    ASSERT_EQ(::setsockopt(monitor.fd(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), 0)
        << std::generic_category().message(errno);
}

TEST_F(MonitorTest, TellsThatForwardingWasTurnedOffForAllDevices) {
    node().run("ip link add a0 type veth peer name b0; sysctl -qw net.ipv4.conf.a0.forwarding=1");
    auto monitor = Monitor::open().value();
    node().run("sysctl -qw net.ipv4.ip_forward=1");
    EXPECT_THAT(read(monitor), Not(Contains(is(Kind::forwarding_off))));
    node().run("sysctl -qw net.ipv4.ip_forward=0");
    EXPECT_TRUE(comes(monitor, Kind::forwarding_off, index_of("a0")));
}

TEST_F(MonitorTest, TellsThatIpv6ForwardingWasTurnedOffByDeviceAndForTheWholeHost) {
    node().run("ip link add a0 type veth peer name b0");
    node().run("sysctl -qw net.ipv6.conf.all.forwarding=1");
    auto monitor = Monitor::open().value();
    node().run("sysctl -qw net.ipv6.conf.a0.forwarding=0");
    EXPECT_TRUE(comes(monitor, Kind::forwarding_off, index_of("a0")));
    EXPECT_THAT(read(monitor), Not(Contains(is(Kind::forwarding_off_everywhere))));
    node().run("sysctl -qw net.ipv6.conf.default.forwarding=0");
    EXPECT_THAT(read(monitor), IsEmpty());
    node().run("sysctl -qw net.ipv6.conf.all.forwarding=0");
    EXPECT_TRUE(comes(monitor, Kind::forwarding_off_everywhere, 0));
}

TEST_F(MonitorTest, TellsThatForcedForwardingWasTurnedOff) {
    node().run("ip link add a0 type veth peer name b0");
    if (!node().succeeds("sysctl -qw net.ipv6.conf.a0.force_forwarding=1")) {
        GTEST_SKIP() << "before Linux 6.17 there is no force_forwarding";
    }
    auto monitor = Monitor::open().value();
    node().run("sysctl -qw net.ipv6.conf.a0.force_forwarding=0");
    EXPECT_TRUE(comes(monitor, Kind::forwarding_off, index_of("a0")));
}

TEST_F(MonitorTest, IsSilentWithoutEvents) {
    Monitor monitor = Monitor::open().value();
    EXPECT_THAT(read(monitor), IsEmpty());
}

TEST_F(MonitorTest, TellsOfDevicesThatAppearChangeAndGo) {
    Monitor monitor = Monitor::open().value();
    node().run("ip link add one type veth peer name two");
    const std::uint32_t one = index_of("one");
    EXPECT_THAT(read(monitor), AllOf(Contains(is(Kind::device_changed, one)), Not(Contains(is(Kind::device_down)))));
    node().run("ip link set one up");
    EXPECT_THAT(read(monitor), Contains(is(Kind::device_changed, one)));
    node().run("ip link set one down");
    EXPECT_THAT(read(monitor), Contains(is(Kind::device_down, one)));
    node().run("ip link del one");
    EXPECT_THAT(read(monitor), Contains(is(Kind::device_removed, one)));
}

TEST_F(MonitorTest, TellsThatTheDeviceIsGoneWhenTheContainersNamespaceDies) {
    auto container = std::make_unique<test::NetworkNamespace>();
    test::connect(node(), "nk12ab34cd", *container, "eth0");
    const std::uint32_t ifindex = index_of("nk12ab34cd");
    Monitor monitor = Monitor::open().value();
    container.reset();
    EXPECT_TRUE(comes(monitor, Kind::device_removed, ifindex));
}

TEST_F(MonitorTest, TellsThatADeviceIsGoneWhenItMovesToAnotherNamespace) {
    test::NetworkNamespace container;
    node().run("ip link add one type veth peer name two");
    const std::uint32_t one = index_of("one");
    Monitor monitor = Monitor::open().value();
    node().run(formatted("ip link set one netns {}", container.path()));
    EXPECT_TRUE(comes(monitor, Kind::device_removed, one));
}

TEST_F(MonitorTest, ADeviceThatLeavesABridgeIsNotGone) {
    node().run(
        "ip link add br0 type bridge && ip link add one type veth peer name two && ip link set one up master br0");
    const std::uint32_t one = index_of("one");
    Monitor monitor = Monitor::open().value();
    node().run("ip link set one nomaster");
    EXPECT_THAT(read(monitor), AllOf(Contains(is(Kind::device_changed, one)), Not(Contains(is(Kind::device_removed)))));
}

TEST_F(MonitorTest, TellsOfAddressesOfBothFamilies) {
    node().run("ip link add one type veth peer name two && ip link set one up");
    const std::uint32_t one = index_of("one");
    for (const char* address : {"192.0.2.1/24", "2001:db8::1/64"}) {
        Monitor monitor = Monitor::open().value();
        node().run(formatted("ip addr add {} dev one", address));
        EXPECT_THAT(read(monitor), Contains(is(Kind::address, one)));
        node().run(formatted("ip addr del {} dev one", address));
        EXPECT_THAT(read(monitor), Contains(is(Kind::address_removed, one)));
    }
}

TEST_F(MonitorTest, TellsOfRoutesOfEveryTableButTheLocalOne) {
    Monitor monitor = Monitor::open().value();
    node().run("ip route add unreachable 198.51.100.0/24");
    EXPECT_THAT(read(monitor), Contains(is(Kind::route)));
    node().run("ip -6 route add unreachable 2001:db8:1::/48");
    EXPECT_THAT(read(monitor), Contains(is(Kind::route)));
    node().run("ip route add unreachable 198.51.100.0/24 table 100");
    EXPECT_THAT(read(monitor), Contains(is(Kind::route)));
    node().run("ip route add local 198.51.100.0/24 dev lo table local");
    EXPECT_THAT(read(monitor), Not(Contains(is(Kind::route))));
    for (const char* family : {"-4", "-6"}) {
        for (const char* action : {"add", "del"}) {
            node().run(formatted("ip {} route {} unreachable default table 51820", family, action));
            EXPECT_THAT(read(monitor), Contains(is(Kind::route))) << family << " " << action;
        }
    }
}

TEST_F(MonitorTest, ManyRoutesAreOneEvent) {
    Monitor monitor = Monitor::open().value();
    node().run("for i in $(seq 200); do echo route add unreachable 198.51.100.$i; done | ip -batch -");
    const auto events = read(monitor);
    EXPECT_EQ(events.size(), 1U);
    EXPECT_THAT(events, Contains(is(Kind::route)));
}

TEST_F(MonitorTest, AFloodThatOverflowsTheQueueIsReportedAndTheNextEventsComeThrough) {
    node().run("ip link add one type veth peer name two");
    const std::uint32_t one = index_of("one");
    Monitor monitor = Monitor::open().value();
    set_receive_buffer(monitor, 1);  // the kernel raises it to its minimum (socket(7))
    node().run("for i in $(seq 100); do echo link set one up; echo link set one down; done | ip -batch -");
    EXPECT_THAT(read(monitor), Contains(is(Kind::overrun)));
    EXPECT_THAT(read(monitor), IsEmpty());
    set_receive_buffer(monitor, 200'000);
    node().run("ip link del one");
    EXPECT_THAT(read(monitor), Contains(is(Kind::device_removed, one)));
}

TEST_F(MonitorTest, OtherNamespacesAreNotItsBusiness) {
    Monitor monitor = Monitor::open().value();
    test::NetworkNamespace other;
    other.run("ip link add one type veth peer name two");
    EXPECT_THAT(read(monitor), IsEmpty());
}

}  // namespace
}  // namespace netkitd::link
