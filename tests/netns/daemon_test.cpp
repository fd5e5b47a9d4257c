// The daemon's own life: what it notices by itself, what it says, and that it is still when nothing happens.
#include "harness/daemon_test.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>

#include "abi.h"
#include "harness/small_file_system.h"
#include "harness/traffic.h"
#include "harness/wait.h"
#include "link/device.h"
#include "netlink/monitor.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using testing::UnorderedElementsAre;

class DaemonLifeTest : public DaemonTest {
protected:
    void SetUp() override {
        DaemonTest::SetUp();
        if (!IsSkipped()) {
            ASSERT_TRUE(start());
        }
    }
    [[nodiscard]] std::string host_name_of(const std::string& id) const {
        const json shown = call({.operation = ipc::Operation::endpoint_show, .id = id}).value();
        return shown.at("host_interface").get<std::string>();
    }
    // By something that it misses; the last look has put it back.
    void make_it_look_at_everything() const {
        EXPECT_TRUE(eventually([this] { return node().succeeds("ip route del 10.77.0.0/16 dev netkitd0"); }));
    }
    // And what the daemon was doing is done, as it answers.
    [[nodiscard]] bool comes_true(const std::function<bool()>& condition) const {
        return eventually(condition) && call({.operation = ipc::Operation::endpoint_list}).has_value();
    }
    [[nodiscard]] std::string degraded_text() const { return status().at("degraded").dump(); }
};

TEST_F(DaemonLifeTest, ItsContainersProgramIsLoadedBeforeTheFirstOneComes) {
    // Of the type that devices have (BPF_PROG_TYPE_SCHED_CLS): the uplink's two, that of the device mode, netkitd0's,
    // and those by which the daemon looks for sockets, removes flows and inserts them.
    const std::string count =
        formatted("cat /proc/{}/fdinfo/* 2>/dev/null | grep -c 'prog_type:.*3$' || true", daemon_pid());
    EXPECT_EQ(node().run(count), "7\n");
}

TEST_F(DaemonLifeTest, ARouteDeletedByHandIsBackAtOnce) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    node().run("ip route del 10.77.0.0/16 dev netkitd0");
    EXPECT_TRUE(eventually([&] { return node().run("ip route show 10.77.0.0/16 dev netkitd0") != ""; }));
    node().run("ip -6 route del fd6e:6b64::/64 dev netkitd0");
    EXPECT_TRUE(eventually([&] { return node().run("ip -6 route show fd6e:6b64::/64 dev netkitd0") != ""; }));
    node().run("ip addr del 10.77.0.1/32 dev netkitd0");
    EXPECT_TRUE(eventually([&] { return !web.netns().cannot_reach("10.77.0.1"); }));
    for (const std::string& device : {host_name_of("web"), std::string("netkitd0"), std::string("netkitd0-peer")}) {
        node().run("ip link set " + device + " down");
        EXPECT_TRUE(eventually([&] { return !web.netns().cannot_reach("10.77.0.1"); })) << device;
    }
    node().run("ip link del netkitd0");
    EXPECT_TRUE(eventually([&] { return !web.netns().cannot_reach("10.77.0.1"); }));
}

TEST_F(DaemonLifeTest, WhatCouldNotBeMendedIsTriedAgainSoon) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    const std::string pin = pins() / "links" / host_name_of("web");
    UniqueFd held(bpf_obj_get(pin.c_str()));
    ASSERT_EQ(::unlink(pin.c_str()), 0);
    node().run("ip link set " + host_name_of("web") + " down");
    EXPECT_TRUE(eventually([&] { return status().at("last_errors").dump().contains("bpftool link"); }));
    held.reset();
    EXPECT_TRUE(eventually([&] { return status().at("last_errors").empty(); }));
    EXPECT_TRUE(std::filesystem::exists(pin));
    EXPECT_TRUE(web.netns().reaches("198.51.100.2"));
}

TEST_F(DaemonLifeTest, AContainerWhosePairWasDeletedIsNamed) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    node().run("ip link del " + host_name_of("web"));
    EXPECT_TRUE(eventually([&] { return endpoints().empty(); }));
    EXPECT_THAT(degraded_text(), HasSubstr("container web has no network"));
    ASSERT_TRUE(detach("web"));
    EXPECT_THAT(degraded_text(), Not(HasSubstr("web")));
}

TEST_F(DaemonLifeTest, AContainerThatEndsIsGivenBackAndNotCalledCutOff) {
    {
        const ContainerProcess web;
        ASSERT_TRUE(attach(web, "web"));
    }
    EXPECT_TRUE(eventually([&] { return endpoints().empty(); }));
    EXPECT_THAT(degraded_text(), Not(HasSubstr("web")));
}

TEST_F(DaemonLifeTest, LostNotificationsAreMadeUpFor) {
    const ContainerProcess web;
    const ContainerProcess db;
    ASSERT_TRUE(attach(web, "web"));
    ASSERT_TRUE(attach(db, "db"));
    const std::string host_name = host_name_of("web");
    signal(SIGSTOP);
    // More than its socket holds while it does not read, then the ones that matter.
    node().run(
        "ip link add noise up type veth peer name other; seq 4000 | sed 's/.*/link set noise alias &/' | ip -batch -");
    node().run("ip link del " + host_name + "; ip route del 10.77.0.0/16 dev netkitd0");
    signal(SIGCONT);
    EXPECT_TRUE(eventually([&] { return endpoints().size() == 1; }));
    EXPECT_TRUE(eventually([&] { return !db.netns().cannot_reach("10.77.0.1"); }));
    EXPECT_THAT(log(), HasSubstr("kernel notifications were lost"));
}

// Datagrams that the kernel sends to whoever follows the network, within `time`.
std::size_t notifications(link::Monitor& monitor, std::chrono::milliseconds time) {
    std::size_t count = 0;
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
        pollfd poll_fd{.fd = monitor.fd(), .events = POLLIN, .revents = 0};
        ::poll(&poll_fd, 1, 50);
        count += monitor.read().value().size();
    }
    return count;
}

TEST_F(DaemonLifeTest, AnIdleNodeIsQuiet) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    link::Monitor monitor = link::Monitor::open().value();
    // Whatever the attach brought about is over at some time, IPv6's own start on the uplink too.
    EXPECT_TRUE(eventually([&] { return notifications(monitor, 3s) == 0; }));
    // A look at everything, caused by one event, causes no further event.
    node().run("ip link set up0 alias changed");
    EXPECT_LE(notifications(monitor, 2s), 2U);
}

TEST_F(DaemonLifeTest, ThatItFellBackToVethIsNamed) {
    if (link::netkit_supported().value()) {
        GTEST_SKIP() << "this kernel has netkit";
    }
    EXPECT_THAT(degraded_text(), HasSubstr("fell back to veth: this kernel has no netkit devices"));
}

TEST_F(DaemonLifeTest, AForeignProgramBeforeItsOwnIsNamed) {
    const UniqueFd theirs = foreign_program("theirs");
    LIBBPF_OPTS(bpf_prog_attach_opts, before, .flags = BPF_F_BEFORE);
    const auto up0 = static_cast<int>(::if_nametoindex("up0"));
    ASSERT_EQ(bpf_prog_attach_opts(theirs.get(), up0, BPF_TCX_INGRESS, &before), 0);
    // The kernel tells nobody of programs: they are seen at the next look.
    node().run("ip link set up0 alias changed");
    EXPECT_TRUE(eventually([&] { return degraded_text().contains("uplink up0: the program theirs"); }));
    EXPECT_THAT(degraded_text(), HasSubstr("runs before netkitd's at ingress"));
}

TEST_F(DaemonLifeTest, AnEndpointIsShownByItsContainersIdTheBeginningOfItItsNumberOrAddress) {
    const ContainerProcess web;
    const ContainerProcess worker;
    ASSERT_TRUE(attach(web, "web-1"));
    ASSERT_TRUE(attach(worker, "worker-1"));
    for (const char* name : {"web-1", "web", "1", "10.77.0.2", "fd6e:6b64::2"}) {
        const auto shown = call({.operation = ipc::Operation::endpoint_show, .id = name});
        ASSERT_TRUE(shown) << name << ": " << shown.error().message();
        EXPECT_EQ(shown->at("containers"), json::array({"web-1"})) << name;
    }
    const auto refusal = [&](ipc::Operation operation, const std::string& id) {
        return call({.operation = operation, .id = id}).error().message();
    };
    EXPECT_THAT(refusal(ipc::Operation::endpoint_show, "w"), HasSubstr("more than one container's id begins with w"));
    EXPECT_THAT(refusal(ipc::Operation::endpoint_show, "db"), HasSubstr("no endpoint here is or has db"));
    EXPECT_THAT(refusal(ipc::Operation::detach, "web"), HasSubstr("give the whole id, web-1"));
    EXPECT_THAT(refusal(ipc::Operation::endpoint_show, "10.77.0.9"), HasSubstr("no endpoint here is or has 10.77.0.9"));
    EXPECT_THAT(refusal(ipc::Operation::detach, "1"), HasSubstr("give the whole id, web-1"));
    EXPECT_THAT(refusal(ipc::Operation::detach, "w"), HasSubstr("give the whole id"));
    EXPECT_FALSE(detach("db").value().at("known"));
    const ContainerProcess numbered;
    ASSERT_TRUE(attach(numbered, "9fedcba"));
    EXPECT_THAT(refusal(ipc::Operation::endpoint_show, "9"), HasSubstr("no endpoint here is or has 9"));
    EXPECT_EQ(endpoints().size(), 3U);
}

TEST_F(DaemonLifeTest, AnUplinkOfTheConfigurationThatIsNotThereIsNamed) {
    stop(SIGTERM);
    std::ofstream(scratch("netkitd.json")) << R"({"uplinks": ["up0", "pu0"]})";
    ASSERT_TRUE(start());
    EXPECT_THAT(degraded_text(), HasSubstr("uplink pu0 of the configuration is not there"));
    EXPECT_EQ(status().at("missing_uplinks"), json::array({"pu0"}));
    EXPECT_THAT(degraded_text(), Not(HasSubstr("uplink up0")));
    node().run("ip link add pu0 type bridge");
    EXPECT_TRUE(eventually([&] { return !degraded_text().contains("uplink pu0"); }));
}

TEST_F(DaemonLifeTest, AHostDeviceThatIsAPartOfAnotherIsNamed) {
    node().run("ip link add theirs0 type bridge; ip link set netkitd0 master theirs0");
    signal(SIGHUP);
    EXPECT_TRUE(eventually([&] { return degraded_text().contains("netkitd0 was made a part of theirs0"); }));
    node().run("ip link set netkitd0 nomaster");
    signal(SIGHUP);
    EXPECT_TRUE(eventually([&] { return !degraded_text().contains("netkitd0 was made"); }));
}

TEST_F(DaemonLifeTest, AHostWithoutAnUplinkIsNamed) {
    EXPECT_THAT(degraded_text(), Not(HasSubstr("there is no uplink")));
    node().run("ip link del up0");
    EXPECT_TRUE(eventually([&] { return degraded_text().contains("there is no uplink"); }));
    connect(node(), "up1", outside(), "eth1");
    node().run("ip addr add 192.0.2.1/24 dev up1");
    EXPECT_TRUE(eventually([&] { return !degraded_text().contains("there is no uplink"); }));
}

TEST_F(DaemonTest, AHostThatTurnedIpv6OffIsNamed) {
    node().run("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    std::ofstream(scratch("netkitd.json")) << R"({"networks": {"default": {"ipv6": "fd6e:6b64::/64"}}})";
    ASSERT_TRUE(start());
    EXPECT_THAT(status().at("degraded").dump(), HasSubstr("containers get no IPv6: IPv6 is turned off on this host"));
}

TEST_F(DaemonLifeTest, StatusHasTheLifetimeOfEveryKindOfFlow) {
    const json expected = {{"new", 60},
                           {"tcp_established", 7440},
                           {"tcp_half_closed", 240},
                           {"tcp_closed", 10},
                           {"udp", 300},
                           {"icmp", 60},
                           {"sctp", 600}};
    EXPECT_EQ(status().at("masquerading").at("lifetimes_seconds"), expected);
}

// A later version may have other scratch maps: a pin of one would be in its way.
TEST_F(DaemonLifeTest, WhatOutlivesItIsPinnedAndNothingElse) {
    std::vector<std::string> pins;
    for (const auto& pin : std::filesystem::directory_iterator(this->pins() / "maps")) {
        pins.push_back(pin.path().filename());
    }
    EXPECT_THAT(pins, UnorderedElementsAre("counters-2", "endpoint_drops", "endpoints4", "endpoints6", "flow_counts-2",
                                           "flows4-2", "flows6-2", "fragment_ids-2", "fragments-2", "non_masquerade4",
                                           "non_masquerade6", "origins-2", "port_tries", "sent_by_rule-2"));
}

// Version 0.1.0 began with fewer counters, in a map of just that size, and numbered otherwise: they begin anew.
TEST_F(DaemonTest, CountersOfAnOlderLayoutBeginAnew) {
    constexpr std::uint32_t kCountersOfTheFirst = 34;
    ASSERT_TRUE(start());
    stop(SIGTERM);
    std::filesystem::remove(pins() / "maps/counters-2");
    const UniqueFd former(bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "counters", sizeof(std::uint32_t),
                                         sizeof(nk_counter_value), kCountersOfTheFirst, nullptr));
    ASSERT_TRUE(former);
    ASSERT_EQ(bpf_obj_pin(former.get(), (pins() / "maps/counters").c_str()), 0);
    ASSERT_TRUE(start());
    EXPECT_FALSE(std::filesystem::exists(pins() / "maps/counters"));
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    EXPECT_TRUE(web.netns().reaches("10.77.0.1"));
}

TEST_F(DaemonTest, ACounterOfANewerVersionIsShownByItsNumber) {
    ASSERT_TRUE(start());
    const UniqueFd counters(bpf_obj_get((pins() / "maps/counters-2").c_str()));
    const std::vector<nk_counter_value> values(static_cast<std::size_t>(libbpf_num_possible_cpus()),
                                               {.packets = 1, .bytes = 100});
    constexpr std::uint32_t kNumber = 100;
    ASSERT_EQ(bpf_map_update_elem(counters.get(), &kNumber, values.data(), BPF_ANY), 0);
    const json shown = status().at("counters").back();
    EXPECT_EQ(shown.at("name"), "unknown-100");
    EXPECT_EQ(shown.at("kind"), "drop");
    EXPECT_EQ(shown.at("packets"), values.size());
}

TEST_F(DaemonTest, ANewerVersionsMapIsRefusedByNameAndPurged) {
    ASSERT_TRUE(start());
    stop(SIGTERM);
    const UniqueFd newer(bpf_map_create(BPF_MAP_TYPE_ARRAY, "flows4", 4, 4, 1, nullptr));
    ASSERT_EQ(bpf_obj_pin(newer.get(), (pins() / "maps/flows4-99").c_str()), 0);
    launch();
    EXPECT_EQ(own_end(), 1);
    EXPECT_THAT(log(), testing::AllOf(HasSubstr("maps/flows4-99 is the map of a newer version of netkitd"),
                                      HasSubstr("netkitd --purge, which removes what any version made")));
}

TEST_F(DaemonTest, AFullDiskIsNamedAndContainersGoOn) {
    const SmallFileSystem disk(scratch("state"));
    ASSERT_TRUE(disk.mounted());
    ASSERT_TRUE(start());
    const ContainerProcess web;
    const ContainerProcess db;
    ASSERT_TRUE(attach(web, "web"));
    disk.fill();
    // What SQLite has of room in its log may do for some.
    Result<json> reply = attach(db, "db");
    for (int i = 0; reply && i < 1000; ++i) {
        ASSERT_TRUE(detach("db"));
        reply = attach(db, "db");
    }
    ASSERT_FALSE(reply);
    EXPECT_THAT(reply.error().message(), AllOf(HasSubstr("state.db"), HasSubstr("the file system is full")));
    EXPECT_THAT(status().at("last_errors").dump(), HasSubstr("the file system is full"));
    EXPECT_TRUE(web.netns().reaches("198.51.100.2"));
    EXPECT_FALSE(db.netns().succeeds("ip link show eth0"));
    disk.make_room();
    EXPECT_TRUE(attach(db, "db"));
    EXPECT_TRUE(status().at("last_errors").empty());
    stop(SIGTERM);
}

TEST_F(DaemonLifeTest, ADatabaseThatIsDeletedIsWrittenAgain) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    std::filesystem::remove_all(scratch("state"));
    make_it_look_at_everything();
    ASSERT_TRUE(comes_true([&] { return std::filesystem::exists(scratch("state/state.db")); })) << log();
    const ContainerProcess db;
    EXPECT_TRUE(attach(db, "db"));
    EXPECT_THAT(log(), HasSubstr("was gone: it is written again"));
    stop(SIGKILL);
    ASSERT_TRUE(start());
    EXPECT_THAT(endpoints(), SizeIs(2));
}

// Containers that run are nobody's to cut off.
TEST_F(DaemonLifeTest, ADatabaseThatIsLostCutsOffNobody) {
    const ContainerProcess web;
    const ContainerProcess db;
    const json before = attach(web, "web").value();
    ASSERT_TRUE(attach(db, "db"));
    const json endpoint_of_db = call({.operation = ipc::Operation::endpoint_show, .id = "db"}).value();
    const EchoServer server(outside(), "198.51.100.2");
    const Address to = echo_at("198.51.100.2");
    const UniqueFd connection = socket_in(web.netns(), to, SOCK_STREAM);
    ASSERT_EQ(::connect(connection.get(), to.get(), to.size), 0);
    stop(SIGKILL);
    std::filesystem::remove_all(scratch("state"));
    // Which somebody has renamed meanwhile: its program's pin has the name that it was made with.
    const std::string db_end = endpoint_of_db.at("host_interface");
    node().run(formatted("ip link set {} name renamed0", db_end));
    ASSERT_TRUE(start());
    EXPECT_THAT(log(), HasSubstr("web: its record was lost; it keeps 10.77.0.2, fd6e:6b64::2"));
    const json after = call({.operation = ipc::Operation::endpoint_show, .id = "web"}).value();
    for (const char* key : {"id", "network", "ipv4", "ipv6", "interface", "mtu", "host_interface", "netns_cookie"}) {
        EXPECT_EQ(after.at(key), before.contains(key) ? before.at(key) : after.at(key)) << key;
    }
    EXPECT_EQ(after.at("interface"), "eth0");
    EXPECT_TRUE(web.netns().reaches("198.51.100.2"));
    EXPECT_TRUE(db.netns().reaches("10.77.0.2"));
    EXPECT_EQ(::send(connection.get(), "x", 1, MSG_NOSIGNAL), 1);
    char echoed = 0;
    EXPECT_EQ(::recv(connection.get(), &echoed, 1, 0), 1);
    EXPECT_TRUE(attach(web, "web")->at("existing")) << "its netns is known";
    const ContainerProcess third;
    const json other = attach(third, "third").value();
    EXPECT_EQ(other.at("ipv4"), "10.77.0.4");
    EXPECT_TRUE(detach("web").value().at("known"));
    EXPECT_FALSE(web.netns().succeeds("ip link show eth0"));
    EXPECT_EQ(endpoints().size(), 2U);
}

TEST_F(DaemonLifeTest, ADatabaseIsWrittenAgainOverWhatIsNone) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    const std::string path = scratch("state/state.db");
    // Not what a link leads to.
    const auto is_there = [&] {
        std::error_code error;
        return std::filesystem::symlink_status(path, error).type() == std::filesystem::file_type::regular &&
               std::filesystem::file_size(path, error) > 0;
    };
    std::filesystem::remove_all(scratch("state"));
    std::filesystem::create_directory(scratch("state"));
    std::ofstream(path).flush();  // as a copy leaves it that a full disk cut short
    make_it_look_at_everything();
    EXPECT_TRUE(comes_true(is_there)) << log();
    std::filesystem::remove(path);
    std::filesystem::create_symlink("state.db", path);
    make_it_look_at_everything();
    EXPECT_TRUE(comes_true(is_there)) << log();
    std::filesystem::remove_all(scratch("state"));
    stop(SIGTERM);
    EXPECT_TRUE(is_there()) << "at its end, too";
    ASSERT_TRUE(start());
    EXPECT_EQ(endpoints().size(), 1U);
}

TEST_F(DaemonLifeTest, AnotherStoreIsRefusedByAReload) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    std::ofstream(scratch("netkitd.json")) << formatted(R"({{"store": "{}"}})", scratch("other.db"));
    signal(SIGHUP);
    EXPECT_TRUE(
        eventually([&] { return status().at("last_errors").dump().contains("store changed: stop the daemon"); }));
    EXPECT_EQ(endpoints().size(), 1U);
}

TEST_F(DaemonLifeTest, PinsThatAreRemovedAreThereAgain) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    node().run(formatted("rm -r {}", bpffs().string()));
    make_it_look_at_everything();
    EXPECT_TRUE(eventually([&] { return web.netns().reaches("198.51.100.2"); })) << log();
    stop(SIGKILL);
    ASSERT_TRUE(start());
    EXPECT_EQ(endpoints().size(), 1U);
    EXPECT_TRUE(web.netns().reaches("198.51.100.2"));
}

// What binds the socket refuses a start too.
TEST_F(DaemonTest, AStartThatFindsNoSocketHasChangedNothing) {
    std::filesystem::create_directory(scratch("netkitd.sock"));
    launch();
    EXPECT_EQ(own_end(), 1);
    EXPECT_THAT(log(), HasSubstr("is there and is not a socket"));
    EXPECT_FALSE(std::filesystem::exists(pins()));
    EXPECT_EQ(node().run("ip route show proto 120"), "");
    std::filesystem::remove(scratch("netkitd.sock"));
    ASSERT_TRUE(start());
}

TEST_F(DaemonLifeTest, ADatabaseThatIsReplacedIsNamed) {
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    const auto is_named = [this] { return status().at("last_errors").dump().contains("state.db was replaced"); };
    std::filesystem::rename(scratch("state/state.db"), scratch("state/mine.db"));
    std::ofstream(scratch("state/state.db")) << "another";
    make_it_look_at_everything();
    EXPECT_TRUE(eventually(is_named)) << status().dump();
    std::filesystem::rename(scratch("state/mine.db"), scratch("state/state.db"));
    make_it_look_at_everything();
    EXPECT_TRUE(eventually([&] { return !is_named(); })) << status().dump();
}

TEST_F(DaemonTest, AReadOnlyDiskKeepsItFromStartingAndIsNamed) {
    const SmallFileSystem disk(scratch("state"));
    ASSERT_TRUE(disk.mounted());
    ASSERT_TRUE(start());
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    stop(SIGKILL);
    ASSERT_TRUE(disk.make_read_only());
    launch();
    EXPECT_EQ(own_end(), 1) << log();
    EXPECT_THAT(log(), AllOf(HasSubstr("read-only"), HasSubstr(scratch("state/state.db"))));
    EXPECT_TRUE(web.netns().reaches("198.51.100.2"));
    ASSERT_TRUE(disk.make_writable());
    ASSERT_TRUE(start());
    EXPECT_THAT(endpoints(), SizeIs(1));
    stop(SIGTERM);
}

}  // namespace
}  // namespace netkitd::test
