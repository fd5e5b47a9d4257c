// What a container does to get more than its part of what all share, and that others do not notice.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstring>
#include <thread>

#include "harness/daemon_test.h"
#include "harness/traffic.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

// A datagram to every port of the address, over and over: each is a flow that nobody answers.
void flood(const std::stop_token& stop, const NetworkNamespace& from, const Address& to) {
    const UniqueFd socket = socket_in(from, to, SOCK_DGRAM);
    sockaddr_in address{};
    std::memcpy(&address, &to.storage, sizeof(address));
    sockaddr_storage generic{};
    for (std::uint16_t port = 1; !stop.stop_requested(); ++port) {
        address.sin_port = htons(port == 0 ? std::uint16_t{1} : port);
        std::memcpy(&generic, &address, sizeof(address));
        // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the sockets' interface
        (void)::sendto(socket.get(), "x", 1, 0, reinterpret_cast<const sockaddr*>(&generic), sizeof(address));
    }
}

class StarvationTest : public DaemonTest {
protected:
    [[nodiscard]] std::vector<std::string> degraded() const {
        return status().at("degraded").get<std::vector<std::string>>();
    }
};

TEST_F(StarvationTest, WhoFillsTheFlowTableTakesNoConnectionFromOthersAndIsNamed) {
    ASSERT_TRUE(start());
    const ContainerProcess flooder;
    const ContainerProcess victim;
    ASSERT_TRUE(attach(flooder, "flooder"));
    ASSERT_TRUE(attach(victim, "victim"));
    const EchoServer echo(outside(), "198.51.100.2");
    const Address to = echo_at("198.51.100.2");
    Tally before;
    std::jthread connection([&](const std::stop_token& stop) { transfer(stop, victim.netns(), to, before); });
    const std::jthread attack([&](const std::stop_token& stop) { flood(stop, flooder.netns(), to); });
    const auto names_flooder = Contains(AllOf(HasSubstr("container flooder"), HasSubstr("flow-share")));
    ASSERT_TRUE(eventually([&] { return testing::Matches(names_flooder)(degraded()); }))
        << testing::PrintToString(degraded());
    Tally meanwhile;
    std::jthread connections([&](const std::stop_token& stop) { connect_anew(stop, victim.netns(), to, meanwhile); });
    std::this_thread::sleep_for(2s);
    connections.request_stop();
    connections.join();
    connection.request_stop();
    connection.join();
    EXPECT_GT(meanwhile.sent, 10U);
    EXPECT_EQ(meanwhile.came_back, meanwhile.sent);
    EXPECT_EQ(meanwhile.failed, 0U);
    EXPECT_GT(before.sent, 10U);
    EXPECT_EQ(before.came_back, before.sent) << "one that was there before";
    EXPECT_THAT(degraded(), Not(Contains(HasSubstr("container victim"))));
}

}  // namespace
}  // namespace netkitd::test
