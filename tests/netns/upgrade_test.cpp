// Upgrades over running containers: to a version that is to come (NETKITD_NEXT_VERSION in bpf/abi.h), whose flows are
// larger, with one counter, one map and one column of the database more; from this version, and from the first one,
// whose programs know nothing of upgrades. Traffic is counted packet by packet.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>

#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <latch>
#include <mutex>
#include <random>
#include <thread>

#include "harness/daemon_test.h"
#include "harness/small_file_system.h"
#include "harness/traffic.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

class UpgradeTest : public DaemonTest {
protected:
    void SetUp() override {
        DaemonTest::SetUp();
        if (std::string_view(NEXT_NETKITD).empty()) {
            GTEST_SKIP() << "the next version is not built with the sanitizers";
        }
        if (IsSkipped()) {
            return;
        }
        node().run("ip addr add 2001:db8::1/64 dev up0 nodad && ip route add default via 2001:db8::2");
        outside().run("ip addr add 2001:db8::2/64 dev eth0 nodad");
        use_program(former_);
        ASSERT_TRUE(start());
    }

    void upgrade() {
        stop(SIGTERM);
        use_program(NEXT_NETKITD);
        ASSERT_TRUE(start());
    }
    // With a second of it before and after; then it ends.
    void upgrade_amid(std::vector<std::jthread>& traffic) {
        std::this_thread::sleep_for(1s);
        upgrade();
        std::this_thread::sleep_for(1s);
        for (auto& thread : traffic) {
            thread.request_stop();
        }
        traffic.clear();
    }
    [[nodiscard]] std::vector<std::string> maps() const {
        std::vector<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(pins() / "maps")) {
            names.push_back(entry.path().filename());
        }
        return names;
    }
    // Whether what the version before had is gone, and so is what is to be known of an upgrade.
    [[nodiscard]] bool is_done() const {
        const std::vector<std::string> names = maps();
        const auto is_former = [](const std::string& name) {
            return name.starts_with("flow") && !name.ends_with("-3");
        };
        return std::ranges::contains(names, "flows4-3") && std::ranges::none_of(names, is_former) &&
               std::ranges::none_of(std::filesystem::directory_iterator(pins()), [](const auto& entry) {
                   return entry.path().filename().string().starts_with("upgrade");
               });
    }

    // Of the one flow that there is.
    [[nodiscard]] int only_translated_port() {
        const auto flows = call({.operation = ipc::Operation::flow_list});
        EXPECT_TRUE(flows);
        EXPECT_EQ(flows->at("flows").size(), 1U) << flows->dump();
        return flows->at("flows").at(0).at("translated_port");
    }

    const char* former_ = NETKITD_PROGRAM;
};

struct Former {
    std::string name;
    const char* program;
};
const Former kThisVersion{.name = "ThisVersion", .program = NETKITD_PROGRAM};
const Former kFirstVersion{.name = "FirstVersion", .program = FIRST_NETKITD};

class UpgradeFromTest : public UpgradeTest, public testing::WithParamInterface<Former> {
protected:
    void SetUp() override {
        former_ = GetParam().program;
        if (std::string_view(former_).empty() && !std::string_view(NEXT_NETKITD).empty()) {
            GTEST_SKIP() << "the first version is not in this repository's history (a shallow clone?)";
        }
        UpgradeTest::SetUp();
    }
};
INSTANTIATE_TEST_SUITE_P(Former, UpgradeFromTest, testing::Values(kThisVersion, kFirstVersion),
                         [](const auto& former) { return former.param.name; });

TEST_P(UpgradeFromTest, TakesOverContainersFlowsAndTheDatabase) {
    const ContainerProcess web;
    const auto reply = attach(web, "web");
    ASSERT_TRUE(reply);
    const Mirror mirror(outside(), "198.51.100.2");
    const Address to = echo_at("198.51.100.2");
    const UniqueFd socket = socket_in(web.netns(), to, SOCK_DGRAM);
    ASSERT_EQ(seen_as(socket.get(), to), "198.51.100.1");
    std::this_thread::sleep_for(2s);
    upgrade();
    const auto flows = call({.operation = ipc::Operation::flow_list});
    ASSERT_TRUE(flows);
    ASSERT_EQ(flows->at("flows").size(), 1U) << flows->dump();
    EXPECT_GE(flows->at("flows")[0].at("age_ms"), 2000) << "it is another one";
    EXPECT_EQ(seen_as(socket.get(), to), "198.51.100.1");
    EXPECT_TRUE(is_done()) << testing::PrintToString(maps());
    EXPECT_THAT(maps(), Contains("next_version"));
    ASSERT_EQ(endpoints().size(), 1U);
    EXPECT_EQ(endpoints()[0].at("ipv4"), reply->at("ipv4"));
    EXPECT_TRUE(web.netns().reaches("198.51.100.2"));
    EXPECT_THAT(status().at("last_errors"), IsEmpty());
    const ContainerProcess db;
    EXPECT_TRUE(attach(db, "db"));
    EXPECT_TRUE(db.netns().reaches("198.51.100.2"));
}

TEST_F(UpgradeTest, AnOlderVersionOverANewersIsRefusedByNameAndContainersGoOn) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    upgrade();
    stop(SIGTERM);
    use_program(NETKITD_PROGRAM);
    launch();
    EXPECT_EQ(own_end(), 1);
    EXPECT_THAT(log(), HasSubstr("install that one again, or stop the containers and run netkitd --purge"));
    EXPECT_TRUE(web.netns().reaches("198.51.100.2"));
    use_program(NEXT_NETKITD);
    ASSERT_TRUE(start());
    EXPECT_EQ(endpoints().size(), 1U);
}

TEST_P(UpgradeFromTest, LosesNothingUnderTraffic) {
    constexpr int kContainers = 20;
    const EchoServer outside4(outside(), "198.51.100.2");
    std::deque<ContainerProcess> containers(in_vm() ? 5 : kContainers);
    std::vector<Tally> transfers(containers.size());
    Tally datagrams;
    Tally connections;
    std::vector<std::jthread> traffic;
    const auto run = [&](auto what, const ContainerProcess& from, Tally& tally) {
        traffic.emplace_back([&, what, to = echo_at("198.51.100.2")](const std::stop_token& stop) {
            what(stop, from.netns(), to, tally);
        });
    };
    for (std::size_t i = 0; i < containers.size(); ++i) {
        ASSERT_TRUE(attach(containers[i], formatted("container-{}", i)));
        run(transfer, containers[i], transfers[i]);
    }
    run(stream, containers.front(), datagrams);
    run(connect_anew, containers.back(), connections);
    upgrade_amid(traffic);
    EXPECT_TRUE(is_done()) << testing::PrintToString(maps());
    for (const Tally& tally : transfers) {
        EXPECT_GT(tally.sent, 10U);
        EXPECT_EQ(tally.came_back, tally.sent);
        EXPECT_EQ(tally.failed, 0U);
        EXPECT_EQ(tally.lost_segments, 0U);
    }
    EXPECT_GT(datagrams.sent, 10U);
    EXPECT_EQ(datagrams.came_back, datagrams.sent);
    EXPECT_GT(connections.sent, 10U);
    EXPECT_EQ(connections.came_back, connections.sent);
    EXPECT_EQ(connections.failed, 0U);
}

// From outside, from this host by loopback, and from another container.
TEST_F(UpgradeTest, NoConnectionToAPublishedPortIsLost) {
    const ContainerProcess web;
    const ContainerProcess other;
    const auto reply = attach(web, "web", {{"io.netkitd.publish", "7:7"}});
    ASSERT_TRUE(reply);
    ASSERT_TRUE(attach(other, "other"));
    const EchoServer server(web.netns(), reply->at("ipv4"));
    std::array<Tally, 4> tallies;
    std::vector<std::jthread> traffic;
    const auto run = [&](auto what, const NetworkNamespace& from, const std::string& address, Tally& tally) {
        traffic.emplace_back(
            [&, what, to = echo_at(address)](const std::stop_token& stop) { what(stop, from, to, tally); });
    };
    run(transfer, outside(), "198.51.100.1", tallies[0]);
    run(connect_anew, outside(), "198.51.100.1", tallies[1]);
    run(connect_anew, node(), "127.0.0.1", tallies[2]);
    run(connect_anew, other.netns(), "198.51.100.1", tallies[3]);
    upgrade_amid(traffic);
    for (const Tally& tally : tallies) {
        EXPECT_GT(tally.came_back, 10U);
        EXPECT_EQ(tally.failed, 0U);
    }
}

// A connection whose SYN is not answered before the upgrade goes on from the same port: with another, its remote would
// have two. (The first version had one half of it alone where it kept its port, which may be of another's home today.)
TEST_P(UpgradeFromTest, AConnectionThatIsBeingMadeKeepsItsPort) {
    constexpr std::uint16_t kPort = 65000;
    outside().run(
        "nft add table inet silent && "
        "nft 'add chain inet silent in { type filter hook input priority 0; }' && "
        "nft add rule inet silent in tcp dport 7 drop");
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    const EchoServer echo(outside(), "198.51.100.2");
    const Address to = echo_at("198.51.100.2");
    const UniqueFd socket = socket_in(web.netns(), to, SOCK_STREAM | SOCK_NONBLOCK);
    const Address local = with_port(echo_at("0.0.0.0"), kPort);
    ASSERT_EQ(::bind(socket.get(), local.get(), local.size), 0);
    ASSERT_EQ(::connect(socket.get(), to.get(), to.size), -1);
    ASSERT_EQ(errno, EINPROGRESS);
    const int before = only_translated_port();
    upgrade();
    outside().run("nft delete table inet silent");
    pollfd wait{.fd = socket.get(), .events = POLLOUT, .revents = 0};
    constexpr int kPatienceMs = 30'000;
    ASSERT_EQ(::poll(&wait, 1, kPatienceMs), 1);
    EXPECT_EQ(only_translated_port(), before);
}

// A migration that is cut short at any instant is finished by the next start.
TEST_P(UpgradeFromTest, KilledAtAnyInstantTheNextStartFinishesIt) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    const EchoServer echo(outside(), "198.51.100.2");
    Tally tally;
    std::jthread traffic(
        [&](const std::stop_token& stop) { transfer(stop, web.netns(), echo_at("198.51.100.2"), tally); });
    stop(SIGTERM);
    use_program(NEXT_NETKITD);
    std::minstd_rand random(static_cast<unsigned>(testing::UnitTest::GetInstance()->random_seed()));
    const int kills = in_vm() ? 5 : 30;
    for (int i = 0; i < kills; ++i) {
        launch();
        std::this_thread::sleep_for(std::chrono::milliseconds(random() % (in_vm() ? 6000 : 500)));
        stop(SIGKILL);
    }
    ASSERT_TRUE(start());
    EXPECT_TRUE(is_done()) << testing::PrintToString(maps());
    std::this_thread::sleep_for(500ms);
    traffic.request_stop();
    traffic.join();
    EXPECT_GT(tally.sent, 10U);
    EXPECT_EQ(tally.came_back, tally.sent);
    EXPECT_EQ(tally.lost_segments, 0U);
}

// A thread that starts the daemon where /proc/meminfo says what the test wants, and lives as long as it
// (PR_SET_PDEATHSIG).
class OnAnotherMachine {
public:
    OnAnotherMachine(std::string meminfo, std::function<void()> launch) : meminfo_(std::move(meminfo)) {
        has(1);
        std::latch launched(1);
        thread_ = std::jthread([this, &launched, launch = std::move(launch)](const std::stop_token& stop) {
            EXPECT_EQ(::unshare(CLONE_NEWNS), 0);
            EXPECT_EQ(::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
            EXPECT_EQ(::mount(meminfo_.c_str(), "/proc/meminfo", nullptr, MS_BIND, nullptr), 0);
            launch();
            launched.count_down();
            std::mutex mutex;
            std::unique_lock lock(mutex);
            std::condition_variable_any().wait(lock, stop, [] { return false; });
        });
        launched.wait();
    }
    void has(int megabytes) const {
        std::ofstream(meminfo_) << formatted("MemTotal: 8000000 kB\nMemAvailable: {} kB\n", megabytes * 1024);
    }

private:
    std::string meminfo_;
    std::jthread thread_;
};

TEST_F(UpgradeTest, WithoutMemoryForItTheOldProgramsGoOnAndStatusSaysSo) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    stop(SIGTERM);
    use_program(NEXT_NETKITD);
    const OnAnotherMachine machine(scratch("meminfo"), [this] { launch(); });
    const auto says_why = [this](ipc::Operation operation) {
        const auto answer = call({.operation = operation});
        return !answer && answer.error().message().contains("MiB of memory for a moment, and this host has 1 MiB");
    };
    ASSERT_TRUE(eventually([&] { return says_why(ipc::Operation::status); })) << log();
    EXPECT_TRUE(says_why(ipc::Operation::endpoint_list));
    EXPECT_TRUE(web.netns().reaches("198.51.100.2"));
    EXPECT_TRUE(std::ranges::contains(maps(), "flows4-2"));
    EXPECT_FALSE(std::ranges::contains(maps(), "next_version")) << "with it the version before would not start again";
    const std::size_t said = log().size();
    EXPECT_EQ(::kill(daemon_pid(), SIGHUP), 0);
    EXPECT_TRUE(eventually([&] { return log().find("not started, tried again", said) != std::string::npos; }))
        << "a reload tries again at once";
    EXPECT_TRUE(eventually([&] { return says_why(ipc::Operation::status); })) << log();
    machine.has(8000);
    EXPECT_TRUE(eventually([&] { return call({.operation = ipc::Operation::status}).has_value(); })) << log();
    EXPECT_TRUE(is_done()) << testing::PrintToString(maps());
    EXPECT_TRUE(web.netns().reaches("198.51.100.2"));
    stop(SIGTERM);
}

// By its configuration here, before anything was changed for it.
TEST_P(UpgradeFromTest, AfterARefusalTheVersionBeforeStartsAgain) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    stop(SIGTERM);
    std::ofstream(scratch("netkitd.json")) << R"({"networks": {"default": {"ipv4": "10.99.0.0/16"}}})";
    use_program(NEXT_NETKITD);
    launch();
    EXPECT_EQ(own_end(), 1);
    EXPECT_THAT(log(), HasSubstr("web"));
    EXPECT_TRUE(web.netns().reaches("198.51.100.2"));
    std::ofstream(scratch("netkitd.json")) << "{}";
    use_program(former_);
    ASSERT_TRUE(start());
    EXPECT_EQ(endpoints().size(), 1U);
    EXPECT_TRUE(web.netns().reaches("198.51.100.2"));
}

TEST_F(UpgradeTest, AfterARefusalForWantOfSpaceTheVersionBeforeStartsAgain) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    stop(SIGTERM);
    std::filesystem::copy(scratch("state"), scratch("copy"));
    const SmallFileSystem small(scratch("state"));
    ASSERT_TRUE(small.mounted());
    std::filesystem::copy(scratch("copy"), scratch("state"));
    small.fill();
    use_program(NEXT_NETKITD);
    launch();
    ASSERT_TRUE(eventually([&] { return log().contains("not started, tried again"); })) << log();
    EXPECT_THAT(log(), HasSubstr("the file system is full"));
    EXPECT_THAT(maps(), testing::Not(Contains("next_version")));
    EXPECT_TRUE(web.netns().reaches("198.51.100.2"));
    stop(SIGTERM);
    small.make_room();
    use_program(NETKITD_PROGRAM);
    ASSERT_TRUE(start());
    EXPECT_EQ(endpoints().size(), 1U);
    stop(SIGTERM);
}

// A version between was killed after it had copied, to a layout that is not this one's.
TEST_F(UpgradeTest, TakesOverFlowsAlsoFromAnUpgradeToAnotherVersionThatWasCutShort) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    const Mirror mirror(outside(), "198.51.100.2");
    const Address to = echo_at("198.51.100.2");
    const UniqueFd socket = socket_in(web.netns(), to, SOCK_DGRAM);
    ASSERT_EQ(seen_as(socket.get(), to), "198.51.100.1");
    stop(SIGTERM);
    node().run(formatted("mkdir {}", (pins() / "upgrade-999999999999999").string()));
    use_program(NEXT_NETKITD);
    ASSERT_TRUE(start());
    EXPECT_EQ(call({.operation = ipc::Operation::flow_list})->at("flows").size(), 1U);
    EXPECT_TRUE(is_done()) << testing::PrintToString(maps());
}

// As a daemon that is killed while it takes its programs off a device leaves it.
TEST_F(UpgradeTest, IsNotHeldUpByAProgramOfADeviceThatIsGone) {
    node().run(
        "ip link add gone type veth peer name other && ip link set gone up && ip route add default dev gone metric 9");
    ASSERT_TRUE(eventually([&] { return status().at("uplinks").size() == 2U; }));
    const std::string ifindex = node().run("ip -j link show gone | jq -j .[0].ifindex");
    stop(SIGKILL);
    node().run(formatted("rm {}/uplink-{}-ingress && ip link del gone", (pins() / "links").string(), ifindex));
    use_program(NEXT_NETKITD);
    ASSERT_TRUE(start());
    EXPECT_TRUE(eventually([&] { return is_done(); })) << testing::PrintToString(maps());
}

TEST_F(UpgradeTest, PurgeRemovesWhatAnyVersionMade) {
    upgrade();
    stop(SIGTERM);
    purge();
    EXPECT_FALSE(std::filesystem::exists(pins()));
    EXPECT_FALSE(std::filesystem::exists(scratch("state/state.db")));
}

}  // namespace
}  // namespace netkitd::test
