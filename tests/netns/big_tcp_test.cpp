// BIG TCP: what uplinks and pairs are given, what they get back, and that packets larger than 64 KiB go through.
#include "node/big_tcp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>

#include "harness/daemon_test.h"
#include "harness/wait.h"
#include "node/host_changes.h"

namespace netkitd::test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr std::uint32_t kBig = 196608;
constexpr const char* kSmallDevice = "small0";  // a bridge: it bears no more than 64 KiB, like many NICs

// gso_max_size, gro_max_size, gso_ipv4_max_size, gro_ipv4_max_size
std::vector<std::uint32_t> sizes_of(const NetworkNamespace& netns, const std::string& device) {
    const json shown = json::parse(netns.run(formatted("ip -details -json link show dev {}", device))).at(0);
    return {shown.at("gso_max_size"), shown.at("gro_max_size"), shown.at("gso_ipv4_max_size"),
            shown.at("gro_ipv4_max_size")};
}

std::vector<std::uint32_t> all_of(std::uint32_t size) {
    return {size, size, size, size};
}

class UplinkSizesTest : public HostTest {
protected:
    void SetUp() override {
        HostTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        store_ = std::make_unique<Store>(Store::open(scratch("state.db"), "boot-1").value());
        host_ = std::make_unique<link::Netlink>(link::Netlink::open().value());
        big_tcp_ = std::make_unique<BigTcp>(*host_, *store_);
        node().run(formatted("ip link add up1 type bridge && ip link add {} type bridge", kSmallDevice));
        ASSERT_NE(sizes_of(node(), "up0"), all_of(kBig));
    }

    void sync(const std::vector<std::string>& uplinks, bool wanted = true) {
        const auto synced = big_tcp_->sync(wanted, link::discover_uplinks(*host_, uplinks).value());
        ASSERT_TRUE(synced) << synced.error().message();
    }
    [[nodiscard]] std::vector<HostChange> changes() { return store_->host_changes().value(); }
    void purge() {
        const auto restored = restore_host_changes(*store_, *host_);
        ASSERT_TRUE(restored) << restored.error().message();
        EXPECT_THAT(changes(), IsEmpty());
    }
    // As BigTcp has it for its own, but refused for that device.
    void refuse_for(const std::string& name) {
        const std::uint32_t refusing = link::find_device(*host_, name).value()->ifindex;
        big_tcp_ = std::make_unique<BigTcp>(*host_, *store_,
                                            [this, refusing](link::Netlink& host, std::uint32_t ifindex,
                                                             const link::SegmentSizes& sizes) -> Result<void> {
                                                ++attempts_;
                                                return ifindex == refusing
                                                           ? fail_errno(EINVAL, "set the sizes")
                                                           : link::set_segment_sizes(host, ifindex, sizes);
                                            });
    }
    void add_another_wire() {
        node().run("ip link del up1");
        connect(node(), "up1", outside(), "eth1");
    }

    std::unique_ptr<Store> store_;
    std::unique_ptr<link::Netlink> host_;
    std::unique_ptr<BigTcp> big_tcp_;
    int attempts_ = 0;
};

TEST_F(UplinkSizesTest, AreEnlargedRecordedAndRestored) {
    sync({"up0"});
    EXPECT_TRUE(big_tcp_->enabled());
    EXPECT_EQ(big_tcp_->pair_sizes(), link::SegmentSizes::all(kBig));
    EXPECT_EQ(sizes_of(node(), "up0"), all_of(kBig));
    ASSERT_THAT(changes(), SizeIs(1));
    EXPECT_THAT(changes()[0].what, HasSubstr("(up0)"));
    EXPECT_THAT(changes()[0].before, HasSubstr("gso_max_size 65536"));
    EXPECT_THAT(changes()[0].after, HasSubstr("gro_ipv4_max_size 196608"));
    sync({"up0"});
    EXPECT_THAT(changes(), SizeIs(1));
    purge();
    EXPECT_EQ(sizes_of(node(), "up0"), all_of(65536));
}

TEST_F(UplinkSizesTest, AreRestoredUnderANewNameAndNotOnAnotherDevice) {
    sync({"up0"});
    node().run("ip link set up0 name renamed0");
    purge();
    EXPECT_EQ(sizes_of(node(), "renamed0"), all_of(65536));
    node().run("ip link set renamed0 name up0");
    sync({"up0"});
    node().run("ip link del up0");
    purge();
}

TEST_F(UplinkSizesTest, ADeviceThatIsNoUplinkAnyMoreGetsItsOwnBack) {
    add_another_wire();
    sync({"up0", "up1"});
    EXPECT_EQ(sizes_of(node(), "up1"), all_of(kBig));
    sync({"up0"});
    EXPECT_EQ(sizes_of(node(), "up1"), all_of(65536));
    EXPECT_EQ(sizes_of(node(), "up0"), all_of(kBig));
    EXPECT_THAT(changes(), SizeIs(1));
}

TEST_F(UplinkSizesTest, OneThatBearsNoMoreThan64KiBTurnsItOffForAllAndIsNamed) {
    sync({"up0"});
    sync({"up0", kSmallDevice});
    EXPECT_FALSE(big_tcp_->enabled());
    EXPECT_THAT(big_tcp_->why_off(), HasSubstr("small0, an uplink, takes packets of at most 65536 bytes"));
    EXPECT_EQ(big_tcp_->pair_sizes(), link::SegmentSizes());
    EXPECT_EQ(sizes_of(node(), "up0"), all_of(65536));
    EXPECT_THAT(changes(), IsEmpty());
    sync({"up0"});
    EXPECT_EQ(sizes_of(node(), "up0"), all_of(kBig));
}

TEST_F(UplinkSizesTest, WhatAnUplinkStandsOnIsEnlargedWithIt) {
    add_another_wire();
    node().run(formatted("ip link set up1 master {}", kSmallDevice));  // it bears what its ports do
    sync({kSmallDevice});
    EXPECT_TRUE(big_tcp_->enabled()) << big_tcp_->why_off();
    EXPECT_EQ(sizes_of(node(), kSmallDevice), all_of(kBig));
    EXPECT_EQ(sizes_of(node(), "up1"), all_of(kBig));
    EXPECT_EQ(sizes_of(node(), "up0"), all_of(65536));
    node().run("ip link set up1 nomaster");
    sync({"up0"});
    EXPECT_EQ(sizes_of(node(), "up1"), all_of(65536));
}

TEST_F(UplinkSizesTest, TurnedOffByTheConfigurationAllGetTheirOwnBack) {
    sync({"up0"});
    sync({"up0"}, false);
    EXPECT_THAT(big_tcp_->why_off(), HasSubstr("big_tcp"));
    EXPECT_EQ(sizes_of(node(), "up0"), all_of(65536));
    EXPECT_THAT(changes(), IsEmpty());
}

TEST_F(UplinkSizesTest, WithoutAnUplinkTheContainersHaveItAmongThemselves) {
    sync({"nothing0"});
    EXPECT_TRUE(big_tcp_->enabled());
    EXPECT_EQ(big_tcp_->pair_sizes(), link::SegmentSizes::all(kBig));
}

TEST_F(UplinkSizesTest, WhatTheAdministratorMadeLargerStays) {
    node().run("ip link set up0 gso_max_size 262144 gro_max_size 100000");
    sync({"up0"});
    EXPECT_THAT(sizes_of(node(), "up0"), ElementsAre(262144, kBig, kBig, kBig));
    purge();
    EXPECT_THAT(sizes_of(node(), "up0"), ElementsAre(262144, 100000, 65536, 65536));
}

TEST_F(UplinkSizesTest, WhatTheAdministratorChangedSinceIsNotTakenBack) {
    sync({"up0"});
    node().run("ip link set up0 gso_max_size 300000");
    purge();
    EXPECT_EQ(sizes_of(node(), "up0")[0], 300000U);
    // Smaller than it shall be: that is what it gets back.
    sync({"up0"});
    node().run("ip link set up0 gso_max_size 80000 gso_ipv4_max_size 80000");
    sync({"up0"});
    EXPECT_EQ(sizes_of(node(), "up0"), all_of(kBig));
    purge();
    EXPECT_EQ(sizes_of(node(), "up0")[0], 80000U);
}

TEST_F(UplinkSizesTest, OneThatRefusesUndoesItOnAllAndIsNotAskedAgain) {
    add_another_wire();
    refuse_for("up1");
    sync({"up0", "up1"});
    EXPECT_FALSE(big_tcp_->enabled());
    EXPECT_THAT(big_tcp_->why_off(), HasSubstr("up1, an uplink, refuses packets of 196608 bytes"));
    EXPECT_EQ(sizes_of(node(), "up0"), all_of(65536));
    EXPECT_THAT(changes(), IsEmpty());
    EXPECT_EQ(attempts_, 2);
    sync({"up0", "up1"});
    EXPECT_EQ(attempts_, 2);
    sync({"up0"});
    EXPECT_TRUE(big_tcp_->enabled());
    EXPECT_EQ(sizes_of(node(), "up0"), all_of(kBig));
}

class BigTcpDaemonTest : public DaemonTest {
protected:
    void SetUp() override {
        DaemonTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        node().run("ip addr add 2001:db8:1::1/64 dev up0 nodad && ip -6 route add default via 2001:db8:1::2");
        outside().run("ip addr add 2001:db8:1::2/64 dev eth0 nodad");
    }
    void configure(bool big_tcp) const { std::ofstream(scratch("netkitd.json")) << json{{"big_tcp", big_tcp}}; }
    [[nodiscard]] std::string host_name_of(const std::string& id) const {
        return call({.operation = ipc::Operation::endpoint_show, .id = id}).value().at("host_interface");
    }
    [[nodiscard]] bool pair_has(const ContainerProcess& container, const std::string& id, std::uint32_t size) const {
        return sizes_of(node(), host_name_of(id)) == all_of(size) &&
               sizes_of(container.netns(), "eth0") == all_of(size);
    }
    // How large the packets were, on average, that a device of `counting` sent while so much went from one to the
    // other.
    static std::uint64_t average_packet(const NetworkNamespace& from, const NetworkNamespace& to,
                                        const std::string& server, const NetworkNamespace& counting,
                                        const std::string& device, const std::string& way) {
        const auto passed = [&] {
            return json::parse(counting.run("ip -statistics -json link show dev " + device))
                .at(0)
                .at("stats64")
                .at(way);
        };
        const bool v6 = server.contains(':');
        to.run(
            formatted("socat -u {}:5001,reuseaddr OPEN:/dev/null >/dev/null 2>&1 & "
                      "until ss -tln | grep -q :5001; do sleep 0.05; done",
                      v6 ? "TCP6-LISTEN" : "TCP4-LISTEN"));
        const json before = passed();
        from.run(formatted("socat -u -b 1048576 OPEN:/dev/zero,readbytes=104857600 TCP:{}:5001",
                           v6 ? "[" + server + "]" : server));
        const json after = passed();
        return (after.at("bytes").get<std::uint64_t>() - before.at("bytes").get<std::uint64_t>()) /
               (after.at("packets").get<std::uint64_t>() - before.at("packets").get<std::uint64_t>());
    }
    // Of what leaves by the uplink.
    [[nodiscard]] std::uint64_t average_packet(const ContainerProcess& container, const std::string& server) const {
        return average_packet(container.netns(), outside(), server, node(), "up0", "tx");
    }
};

TEST_F(BigTcpDaemonTest, PacketsLargerThan64KiBLeaveAContainerMasqueraded) {
    ASSERT_TRUE(start());
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    EXPECT_TRUE(pair_has(web, "web", kBig));
    EXPECT_EQ(sizes_of(node(), "up0"), all_of(kBig));
    EXPECT_EQ(status().at("big_tcp"), (json{{"enabled", true},
                                            {"reason", ""},
                                            {"gso_max_size", kBig},
                                            {"gro_max_size", kBig},
                                            {"gso_ipv4_max_size", kBig},
                                            {"gro_ipv4_max_size", kBig}}));
    for (const char* server : {"198.51.100.2", "2001:db8:1::2"}) {
        EXPECT_GT(average_packet(web, server), 65536U) << server;
    }
}

TEST_F(BigTcpDaemonTest, PacketsLargerThan64KiBGoBetweenHostAndContainer) {
    ASSERT_TRUE(start());
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    for (const char* server : {"10.77.0.2", "fd6e:6b64::2"}) {
        EXPECT_GT(average_packet(node(), web.netns(), server, web.netns(), "eth0", "rx"), 65536U) << server;
    }
    for (const char* server : {"10.77.0.1", "fd6e:6b64::1"}) {
        EXPECT_GT(average_packet(web.netns(), node(), server, web.netns(), "eth0", "tx"), 65536U) << server;
    }
}

TEST_F(BigTcpDaemonTest, TurnedOffTheyAreSmaller) {
    configure(false);
    ASSERT_TRUE(start());
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    EXPECT_THAT(status().at("big_tcp").at("reason").get<std::string>(), HasSubstr("big_tcp"));
    for (const char* server : {"198.51.100.2", "2001:db8:1::2"}) {
        EXPECT_LT(average_packet(web, server), 65536U) << server;
    }
}

TEST_F(BigTcpDaemonTest, AContainerThatRunsAlreadyGetsIt) {
    configure(false);
    ASSERT_TRUE(start());
    {
        const ContainerProcess web;
        ASSERT_TRUE(attach(web, "web"));
        EXPECT_TRUE(pair_has(web, "web", 65536));
        configure(true);
        signal(SIGHUP);
        EXPECT_TRUE(eventually([&] { return pair_has(web, "web", kBig); }));
        for (const char* server : {"198.51.100.2", "2001:db8:1::2"}) {
            EXPECT_GT(average_packet(web, server), 65536U) << server;
        }
        // By another daemon too.
        stop(SIGTERM);
        configure(false);
        ASSERT_TRUE(start());
        EXPECT_TRUE(eventually([&] { return pair_has(web, "web", 65536); }));
        EXPECT_THAT(status().at("degraded").dump(), Not(HasSubstr("web")));
    }
    // Nothing of the daemon's keeps its namespace.
    EXPECT_TRUE(eventually([&] { return endpoints().empty(); }));
}

TEST_F(BigTcpDaemonTest, ASmallerUplinkThatComesAndGoesIsFollowedByAll) {
    ASSERT_TRUE(start());
    const ContainerProcess web;
    ASSERT_TRUE(attach(web, "web"));
    node().run(
        formatted("ip link add {0} type bridge && ip link set {0} up && ip addr add 203.0.113.1/24 dev {0} && "
                  "ip route add default via 203.0.113.2 dev {0} metric 500",
                  kSmallDevice));
    EXPECT_TRUE(eventually([&] { return pair_has(web, "web", 65536) && sizes_of(node(), "up0") == all_of(65536); }));
    EXPECT_THAT(status().at("big_tcp").at("reason").get<std::string>(), HasSubstr("small0"));
    node().run(formatted("ip link del {}", kSmallDevice));
    EXPECT_TRUE(eventually([&] { return pair_has(web, "web", kBig) && sizes_of(node(), "up0") == all_of(kBig); }));
}

// Attached by hand, without a process: nobody knows the way into its namespace any more.
TEST_F(BigTcpDaemonTest, AContainerThatCannotBeReachedIsNamed) {
    configure(false);
    ASSERT_TRUE(start());
    const ContainerProcess web;
    ASSERT_TRUE(call({.operation = ipc::Operation::attach,
                      .id = "web",
                      .annotations = {{"io.netkitd.network", "default"}},
                      .netns = UniqueFd(::dup(web.netns().fd()))}));
    configure(true);
    signal(SIGHUP);
    EXPECT_TRUE(eventually([&] { return status().at("degraded").dump().contains("container web keeps other"); }));
    EXPECT_EQ(sizes_of(node(), host_name_of("web")), all_of(kBig));
    ASSERT_TRUE(detach("web"));
    EXPECT_THAT(status().at("degraded").dump(), Not(HasSubstr("web")));
}

}  // namespace
}  // namespace netkitd::test
