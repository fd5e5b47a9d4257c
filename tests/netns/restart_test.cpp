// Restarts and kills of the daemon under traffic, counted packet by packet: nothing is lost by our doing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <map>

#include "harness/daemon_test.h"
#include "harness/traffic.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

using nlohmann::json;

class RestartTest : public DaemonTest {
protected:
    void SetUp() override {
        DaemonTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        node().run("ip addr add 2001:db8::1/64 dev up0 nodad && ip route add default via 2001:db8::2");
        outside().run("ip addr add 2001:db8::2/64 dev eth0 nodad");
        ASSERT_TRUE(start());
    }

    // The datapath's, by name; but not of what IPv6 says to its own link when an interface comes up.
    [[nodiscard]] std::map<std::string, std::uint64_t> drops() const {
        std::map<std::string, std::uint64_t> result;
        const json now = status();
        for (const json& counter : now.at("counters")) {
            const auto packets = counter.at("packets").get<std::uint64_t>();
            if (counter.at("kind") == "drop" && counter.at("name") != "link-scope" && packets > 0) {
                result.emplace(counter.at("name").get<std::string>(), packets);
            }
        }
        return result;
    }
    [[nodiscard]] std::string resets() const {
        return node().run("nstat -asz TcpOutRsts UdpNoPorts Icmp6OutDestUnreachs | tail -n +2");
    }
};

TEST_F(RestartTest, NothingIsLostOverRestartsAndKills) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    const EchoServer outside4(outside(), "198.51.100.2");
    const EchoServer outside6(outside(), "2001:db8::2");
    const std::string resets_before = resets();
    ASSERT_THAT(resets_before, testing::AllOf(testing::HasSubstr("TcpOutRsts"), testing::HasSubstr("UdpNoPorts")));

    std::array<Tally, 6> tallies;
    std::vector<std::jthread> traffic;
    const auto run = [&](auto what, const char* to, Tally& tally) {
        traffic.emplace_back(
            [&, what, address = echo_at(to)](const std::stop_token& stop) { what(stop, web.netns(), address, tally); });
    };
    run(transfer, "198.51.100.2", tallies[0]);
    run(stream, "198.51.100.2", tallies[1]);
    run(connect_anew, "198.51.100.2", tallies[2]);
    run(transfer, "2001:db8::2", tallies[3]);
    run(stream, "2001:db8::2", tallies[4]);
    run(connect_anew, "2001:db8::2", tallies[5]);

    // In the VM each takes 20 s of a processor.
    const bool few = in_vm() || std::getenv("NETKITD_SHORT") != nullptr;
    const int restarts = few ? 3 : 100;
    const int kills = few ? 3 : 20;
    for (int i = 0; i < restarts + kills && !HasFatalFailure(); ++i) {
        stop(i < restarts ? SIGTERM : SIGKILL);
        ASSERT_TRUE(start());
    }
    for (auto& thread : traffic) {
        thread.request_stop();
    }
    traffic.clear();

    for (std::size_t i = 0; i < tallies.size(); ++i) {
        const Tally& tally = tallies.at(i);
        SCOPED_TRACE(formatted("{} over IPv{}", std::array{"the transfer", "the stream", "new connections"}.at(i % 3),
                               i < 3 ? 4 : 6));
        EXPECT_GT(tally.sent, 10U);
        EXPECT_EQ(tally.came_back, tally.sent);
        EXPECT_EQ(tally.failed, 0U);
        EXPECT_EQ(tally.lost_segments, 0U);
        std::printf("%zu: %llu sent, %llu came back\n", i, static_cast<unsigned long long>(tally.sent),
                    static_cast<unsigned long long>(tally.came_back));
    }
    EXPECT_THAT(drops(), testing::IsEmpty());
    EXPECT_EQ(resets(), resets_before) << "the host's stack answered packets that were a container's";
}

}  // namespace
}  // namespace netkitd::test
