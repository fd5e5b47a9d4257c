// Published ports, as somebody outside and the administrator see them: who reaches what, by which address, and who is
// refused a port. (Each verdict of the programs is in bpf/arrival_test.cpp.)
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>

#include "base/format.h"
#include "harness/daemon_test.h"
#include "harness/traffic.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct Family {
    std::string name;
    std::string host;
    std::string client;
    std::string container;
};
const Family kV4{.name = "V4", .host = "198.51.100.1", .client = "198.51.100.2", .container = "10.77.0.2"};
const Family kV6{.name = "V6", .host = "2001:db8:5::1", .client = "2001:db8:5::2", .container = "fd6e:6b64::2"};

// The echo service's port is both the host's and the container's.
class PublishTest : public DaemonTest, public testing::WithParamInterface<Family> {
protected:
    void SetUp() override {
        DaemonTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        node().run("ip addr add 2001:db8:5::1/64 dev up0 nodad");
        outside().run("ip addr add 2001:db8:5::2/64 dev eth0 nodad");
        ASSERT_TRUE(start());
    }
    Result<nlohmann::json> publish(const ContainerProcess& container, const std::string& id,
                                   const std::string& ports) const {
        return attach(container, id, {{"io.netkitd.publish", ports}});
    }
    [[nodiscard]] std::string refusal(const std::string& ports) const {
        const ContainerProcess container;
        const auto reply = publish(container, "refused", ports);
        EXPECT_TRUE(detach("refused"));
        return reply ? "published" : reply.error().message();
    }
    void configure(const std::string& text) const {
        std::ofstream(scratch("netkitd.json")) << text;
        signal(SIGHUP);
    }
    // As by the container's mirror, which is asked by the host's address.
    [[nodiscard]] std::string seen_from_outside() const {
        const Address mirror = echo_at(net.host);
        const UniqueFd socket = socket_in(outside(), mirror, SOCK_DGRAM);
        return seen_as(socket.get(), mirror);
    }

    const Family net = GetParam();
    const ContainerProcess web_;
};
INSTANTIATE_TEST_SUITE_P(Family, PublishTest, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.param.name; });

TEST_P(PublishTest, SomebodyOutsideReachesTheContainerByTheHostsAddress) {
    ASSERT_TRUE(publish(web_, "web", "7:7/tcp,7:7/udp"));
    const EchoServer server(web_.netns(), net.container);
    EXPECT_TRUE(is_echoed(outside(), net.host, SOCK_STREAM));
    EXPECT_TRUE(is_echoed(outside(), net.host, SOCK_DGRAM));
    EXPECT_EQ(counted("flow-arrived"), 2U);
}

TEST_P(PublishTest, TheContainerSeesTheRealClient) {
    ASSERT_TRUE(publish(web_, "web", "7:7/udp"));
    const Mirror mirror(web_.netns(), net.container);
    EXPECT_EQ(seen_from_outside(), net.client);
}

TEST_P(PublishTest, WhereNobodyListensTheContainerRefuses) {
    ASSERT_TRUE(publish(web_, "web", "7:7"));
    const Address published = echo_at(net.host);
    const UniqueFd client = socket_in(outside(), published, SOCK_STREAM);
    EXPECT_EQ(::connect(client.get(), published.get(), published.size), -1);
    EXPECT_EQ(errno, ECONNREFUSED);
    EXPECT_EQ(counted("flow-arrived"), 1U);
}

TEST_P(PublishTest, GoesOnWithoutADaemonAndOverARestart) {
    ASSERT_TRUE(publish(web_, "web", "7:7/tcp,7:7/udp"));
    const EchoServer server(web_.netns(), net.container);
    stop(SIGKILL);
    EXPECT_TRUE(is_echoed(outside(), net.host, SOCK_STREAM));
    ASSERT_TRUE(start());
    EXPECT_TRUE(is_echoed(outside(), net.host, SOCK_STREAM));
    EXPECT_TRUE(is_echoed(outside(), net.host, SOCK_DGRAM));
    EXPECT_EQ(call({.operation = ipc::Operation::endpoint_show, .id = "web"})->at("published").dump(),
              R"(["7:7/tcp","7:7/udp"])");
}

TEST_P(PublishTest, EndsWithTheContainer) {
    ASSERT_TRUE(publish(web_, "web", "7:7/udp"));
    {
        const Mirror mirror(web_.netns(), net.container);
        EXPECT_EQ(seen_from_outside(), net.client);
    }
    ASSERT_TRUE(detach("web"));
    const std::uint64_t before = counted("flow-arrived");
    EXPECT_EQ(seen_from_outside(), "");
    EXPECT_EQ(counted("flow-arrived"), before);
}

// A client that knows nothing of it goes on from its port.
TEST_P(PublishTest, AContainerThatStartsAgainGetsItsClientsNextDatagram) {
    ASSERT_TRUE(publish(web_, "web", "7:7/udp"));
    const Address published = echo_at(net.host);
    const UniqueFd client = socket_in(outside(), published, SOCK_DGRAM);
    {
        const Mirror mirror(web_.netns(), net.container);
        ASSERT_EQ(seen_as(client.get(), published), net.client);
        ASSERT_EQ(seen_as(client.get(), published), net.client);
    }
    const ContainerProcess again;
    const auto reply = publish(again, "web", "7:7/udp");
    ASSERT_TRUE(reply) << reply.error().message();
    const Mirror mirror(again.netns(), reply->at(net.name == "V4" ? "ipv4" : "ipv6"));
    EXPECT_EQ(seen_as(client.get(), published), net.client);
}

TEST_P(PublishTest, APortThatSomebodyHasIsRefusedByHisName) {
    ASSERT_TRUE(publish(web_, "web", "8080:80"));
    EXPECT_THAT(refusal("8080:81"), AllOf(HasSubstr("8080:81/tcp"), HasSubstr("container web has that port")));
    EXPECT_THAT(refusal("198.51.100.1:8080:81"), HasSubstr("container web has that port"));
    EXPECT_EQ(refusal("8080:80/udp"), "published");
    const EchoServer of_host(node(), net.host);
    EXPECT_THAT(refusal("7:7"),
                AllOf(HasSubstr("port 7/tcp of this host is taken by 'netns_publish"), HasSubstr("pid")));
    node().run("sysctl -qw net.ipv4.ip_local_port_range='32768 60999'");
    EXPECT_THAT(refusal("40000:80"), HasSubstr("this host's own connections may get port 40000"));
    EXPECT_THAT(refusal("198.51.100.99:80:80"), HasSubstr("this host does not have 198.51.100.99"));
    EXPECT_EQ(endpoints().size(), 1U);
}

TEST_P(PublishTest, AContainerOfAnIsolatedOrRoutedNetworkIsReachedToo) {
    configure(R"({"networks": {"closed": {"ipv4": "10.79.0.0/24", "ipv6": "fd79::/64", "isolated": true},
                               "open": {"ipv4": "10.78.0.0/24", "ipv6": "fd78::/64", "masquerade": false}}})");
    for (const std::string network : {"closed", "open"}) {
        SCOPED_TRACE(network);
        const ContainerProcess container;
        Result<nlohmann::json> reply = fail(ErrorKind::internal, "not tried");
        ASSERT_TRUE(eventually([&] {
            reply = attach(container, network,
                           {{"io.netkitd.network", network}, {"io.netkitd.publish", "7:7/tcp,7:7/udp"}});
            return reply.has_value();
        })) << reply.error().message();
        const EchoServer server(container.netns(), reply->at(net.name == "V4" ? "ipv4" : "ipv6"));
        EXPECT_TRUE(is_echoed(outside(), net.host, SOCK_STREAM));
        EXPECT_TRUE(is_echoed(outside(), net.host, SOCK_DGRAM));
        ASSERT_TRUE(detach(network));
    }
}

}  // namespace
}  // namespace netkitd::test
