// `hold`: clients of a published port that wait for a container to listen.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <future>
#include <stop_token>
#include <thread>
#include <vector>

#include "harness/wait.h"
#include "netns/publish.h"

namespace netkitd::test {
namespace {

TEST_P(PublishTest, WithHoldAClientWaitsUntilSomebodyListens) {
    ASSERT_TRUE(publish(web_, "web", "7:7;hold=60"));
    auto asked = std::async(std::launch::async, [&] { return is_echoed(outside(), net.host); });
    ASSERT_TRUE(eventually([&] { return counted("held") > 0; }));
    const EchoServer server(web_.netns(), net.container);
    EXPECT_TRUE(asked.get());
    const std::uint64_t held = counted("held");
    EXPECT_TRUE(is_echoed(outside(), net.host));
    EXPECT_EQ(counted("held"), held);
}

TEST_P(PublishTest, WithHoldAClientWaitsForTheContainerToStartAgain) {
    ASSERT_TRUE(publish(web_, "web", "7:7;hold=60"));
    ASSERT_TRUE(detach("web"));
    auto asked = std::async(std::launch::async, [&] { return is_echoed(outside(), net.host); });
    ASSERT_TRUE(eventually([&] { return counted("held") > 0; }));
    EXPECT_EQ(bind_error(node(), echo_at(net.host), SOCK_STREAM), EADDRINUSE);
    EXPECT_EQ(call({.operation = ipc::Operation::port_list})->at("held").at(0).at("port"), 7);
    EXPECT_FALSE(is_echoed(node(), net.host)) << "there is nobody to lead it to";
    const ContainerProcess again;
    const auto reply = publish(again, "web", "7:7;hold=60");
    ASSERT_TRUE(reply);
    const EchoServer server(again.netns(), address_in(reply));
    EXPECT_TRUE(asked.get());
    EXPECT_TRUE(is_echoed(node(), net.host));
}

// Whoever comes at whatever instant of it. (That a server ends connections that it has not served yet is its own.)
TEST_P(PublishTest, WithHoldNobodyIsRefusedWhileTheContainerStartsAgainUnderLoad) {
    std::atomic<int> connected = 0;
    std::atomic<int> refused = 0;
    const auto come = [&](const std::stop_token& end) {
        while (!end.stop_requested()) {
            const int error = connect_error(outside(), echo_at(net.host));
            connected += error == 0 ? 1 : 0;
            // One who has met each of the gaps has no patience left for his next attempt (socket_in()).
            refused += error != 0 && error != EINPROGRESS ? 1 : 0;
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    };
    constexpr int kRestarts = 4;
    std::vector<std::jthread> clients;
    for (int restart = 1; restart <= kRestarts; ++restart) {
        const ContainerProcess container;
        const auto reply = publish(container, "web", "7:7;hold=60");
        ASSERT_TRUE(reply);
        while (clients.size() < 20) {
            clients.emplace_back(come);
        }
        {
            const EchoServer server(container.netns(), address_in(reply));
            EXPECT_TRUE(eventually([&, before = connected.load()] { return connected > before + 100; }));
        }
        if (restart == kRestarts) {
            for (auto& client : clients) {
                client.request_stop();
            }
            const EchoServer server(container.netns(), address_in(reply));
            clients.clear();
        }
        ASSERT_TRUE(detach("web"));
    }
    // But for one that comes in the very microseconds in which a server closes: after it was found, and before the
    // container's stack looks for it. Without hold there are hundreds.
    EXPECT_LE(refused, kRestarts);
    EXPECT_GT(counted("held"), 0U);
}

TEST_P(PublishTest, AHoldEndsWithItsTimeAndWithAnotherContainersPort) {
    ASSERT_TRUE(publish(web_, "web", "7:7;hold=1,9:9;hold=60"));
    EXPECT_EQ(connect_error(outside(), echo_at(net.host)), ECONNREFUSED) << "by the container";
    ASSERT_TRUE(detach("web"));
    EXPECT_EQ(connect_error(outside(), echo_at(net.host)), ECONNREFUSED) << "by the host";
    EXPECT_TRUE(eventually([&] { return bind_error(node(), echo_at(net.host), SOCK_STREAM) == 0; }));
    const ContainerProcess other;
    ASSERT_TRUE(publish(other, "other", "9:9"));
    EXPECT_EQ(connect_error(outside(), with_port(echo_at(net.host), 9)), ECONNREFUSED) << "at once";
}

// Whoever begins within it is kept waiting by what is in the kernel.
TEST_P(PublishTest, AHoldEndsWithItsTimeWhereNoDaemonRuns) {
    ASSERT_TRUE(publish(web_, "web", "7:7;hold=1"));
    ASSERT_TRUE(detach("web"));
    stop(SIGKILL);
    EXPECT_EQ(connect_error(outside(), echo_at(net.host)), ECONNREFUSED);
}

}  // namespace
}  // namespace netkitd::test
