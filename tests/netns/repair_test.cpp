// What is missing of an endpoint or of the node is put back, what is nobody's goes, and what can't be mended is named.
#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "harness/full_disk.h"
#include "harness/node_test.h"
#include "harness/wait.h"
#include "link/device.h"

namespace netkitd::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

class RepairTest : public NodeTest {
protected:
    void SetUp() override {
        NodeTest::SetUp();
        if (!IsSkipped()) {
            web_.emplace();
            const auto reply = attach(*web_, "web");
            ASSERT_TRUE(reply) << reply.error().message();
            record_ = reply->record;
        }
    }
    void TearDown() override {
        web_.reset();
        NodeTest::TearDown();
    }

    void expect_whole() const {
        for (const std::string address : {"10.77.0.1", "fd6e:6b64::1", "198.51.100.2"}) {
            // The kernel takes an IPv6 address into use a moment after it was given.
            EXPECT_TRUE(eventually([&] { return web_->succeeds("ping -c 1 -W 1 " + address); })) << address;
        }
        EXPECT_TRUE(node().reaches(record_.ipv4->to_string()));
    }
    [[nodiscard]] std::string pin() const { return pins() / "links" / record_.host_name; }

    // It keeps a link for a while after its pin is gone (datapath/link_pin.cpp).
    void resync_once_the_kernel_lets_go() {
        Result<void> resynced;
        (void)eventually([&] {
            resynced = manager().resync();
            return resynced.has_value();
        });
        ASSERT_TRUE(resynced) << resynced.error().message();
    }

    std::optional<ContainerNamespace> web_;
    EndpointRecord record_;
};

AttachOptions with_address(const char* address) {
    AttachOptions options;
    options.ipv4 = *IpAddr::parse(address);
    return options;
}

TEST_F(RepairTest, RoutesThatWereDeletedByHandArePutBack) {
    node().run("ip route del 10.77.0.0/16 dev netkitd0 && ip -6 route del fd6e:6b64::/64 dev netkitd0");
    EXPECT_TRUE(web_->cannot_reach("10.77.0.1"));
    ASSERT_TRUE(network().sync(config_));
    expect_whole();
}

TEST_F(RepairTest, ADeviceThatWasSetDownIsUpAgain) {
    node().run("ip link set " + record_.host_name + " down");
    EXPECT_TRUE(web_->cannot_reach("10.77.0.1"));
    ASSERT_TRUE(manager().resync());
    expect_whole();
}

TEST_F(RepairTest, TheHostDeviceIsPutBackWithAllThatIsOnIt) {
    for (const char* damage : {"ip link del netkitd0", "ip link set netkitd0 down", "ip link set netkitd0-peer down",
                               "ip link set netkitd0 down; ip link set netkitd0 name other0; ip link set other0 up",
                               "ip link set netkitd0-peer down; ip link set netkitd0-peer name other0",
                               "ip addr flush dev netkitd0", "sysctl -qw net.ipv4.conf.netkitd0.forwarding=0"}) {
        SCOPED_TRACE(damage);
        node().run(damage);
        ASSERT_TRUE(network().sync(config_));
        expect_whole();
    }
}

// Of version 0.1, under which the host's routes led to each container's own device, and the gateways were on lo.
TEST_F(RepairTest, RoutesOfTheFirstVersionGo) {
    node().run(
        formatted("ip addr add 10.77.0.1/32 dev lo scope host; ip addr add fd6e:6b64::1/128 dev lo nodad;"
                  "ip route add 10.77.0.2 dev {0} proto 120 src 10.77.0.1;"
                  "ip route add fd6e:6b64::2 dev {0} proto 120 src fd6e:6b64::1",
                  record_.host_name));
    start();
    EXPECT_EQ(node().run("ip route show 10.77.0.2; ip -6 route show fd6e:6b64::2"), "");
    EXPECT_THAT(node().run("ip addr show dev lo"), Not(HasSubstr("10.77.0.1")));
    EXPECT_THAT(node().run("ip addr show dev lo"), Not(HasSubstr("fd6e:6b64::1")));
    expect_whole();
}

TEST_F(RepairTest, AContainerWithASmallerMtuHasARouteOfItsOwnAsLongAsItIsSmaller) {
    ASSERT_TRUE(manager().detach("web"));
    AttachOptions options;
    options.mtu = 1300;
    ASSERT_TRUE(attach(*web_, "web", options));
    const auto routes = [this] {
        return node().run(
            "ip route show proto 120 | grep 'mtu 1300'; ip -6 route show proto 120 | grep 'mtu 1300' || true");
    };
    EXPECT_THAT(routes(), testing::AllOf(HasSubstr("10.77.0."), HasSubstr("fd6e:6b64::")));
    node().run("ip route flush proto 120 root 10.77.0.0/30");
    start();
    EXPECT_THAT(routes(), testing::AllOf(HasSubstr("10.77.0."), HasSubstr("fd6e:6b64::"))) << "put back";
    ASSERT_TRUE(manager().detach("web"));
    EXPECT_EQ(routes(), "");
}

TEST_F(RepairTest, AProgramWhosePinWasRemovedIsAttachedAgain) {
    ASSERT_EQ(::unlink(pin().c_str()), 0);
    ASSERT_THAT(*datapath().attached_endpoints(), IsEmpty());
    resync_once_the_kernel_lets_go();
    EXPECT_THAT(*datapath().attached_endpoints(), ElementsAre(record_.host_name));
    expect_whole();
}

TEST_F(RepairTest, AProgramWhoseFormerLinkSomebodyHoldsIsNamed) {
    UniqueFd held(bpf_obj_get(pin().c_str()));
    ASSERT_EQ(::unlink(pin().c_str()), 0);
    const auto repaired = manager().resync();
    ASSERT_FALSE(repaired);
    EXPECT_THAT(repaired.error().message(), HasSubstr("bpftool link"));
    expect_whole();
    held.reset();
    resync_once_the_kernel_lets_go();
    EXPECT_THAT(*datapath().attached_endpoints(), ElementsAre(record_.host_name));
}

TEST_F(RepairTest, AnEntryThatWasRemovedIsPutBack) {
    ASSERT_TRUE(datapath().remove_endpoint(*record_.ipv4));
    EXPECT_TRUE(web_->cannot_reach("198.51.100.2"));
    ASSERT_TRUE(manager().resync());
    expect_whole();
}

TEST_F(RepairTest, UplinkProgramsThatWereDetachedAreAttachedAgain) {
    const std::string links = pins() / "links";
    node().run("for link in " + links + "/uplink-*; do bpftool link detach pinned $link; done");
    EXPECT_TRUE(web_->cannot_reach("198.51.100.2"));
    ASSERT_TRUE(network().sync(config_));
    EXPECT_TRUE(web_->reaches("198.51.100.2"));
    EXPECT_THAT(network().foreign_programs(), IsEmpty());
}

TEST_F(RepairTest, AForeignProgramOnTheUplinkIsNamedWithItsPlace) {
    const auto up0 = *link::find_device(*std::make_unique<link::Netlink>(*link::Netlink::open()), "up0");
    const UniqueFd first = foreign_program("harmless");
    const UniqueFd last = foreign_program("harmless");
    ASSERT_TRUE(first && last);
    LIBBPF_OPTS(bpf_prog_attach_opts, before, .flags = BPF_F_BEFORE);
    LIBBPF_OPTS(bpf_prog_attach_opts, after, .flags = BPF_F_AFTER);
    const int index = static_cast<int>(up0->ifindex);
    ASSERT_EQ(bpf_prog_attach_opts(first.get(), index, BPF_TCX_INGRESS, &before), 0);
    ASSERT_EQ(bpf_prog_attach_opts(last.get(), index, BPF_TCX_EGRESS, &after), 0);
    ASSERT_TRUE(network().sync(config_));
    const auto& foreign = network().foreign_programs();
    ASSERT_THAT(foreign, SizeIs(2));
    EXPECT_EQ(foreign[0].name, "harmless");
    EXPECT_EQ(foreign[0].uplink, "up0");
    EXPECT_EQ(foreign[0].direction, "ingress");
    EXPECT_TRUE(foreign[0].before);
    EXPECT_EQ(foreign[1].direction, "egress");
    EXPECT_FALSE(foreign[1].before);
    expect_whole();
}

TEST_F(RepairTest, APairThatWasDeletedWhileItsContainerRunsIsNamedUntilThatIsOver) {
    node().run("ip link del " + record_.host_name);
    ASSERT_TRUE(manager().resync());
    EXPECT_THAT(manager().endpoints(), IsEmpty());
    EXPECT_THAT(manager().cut_off(), ElementsAre(testing::Pair("web", record_.host_name)));
    EXPECT_TRUE(watch_.watched.contains("web"));
    manager().process_exited("web");
    EXPECT_THAT(manager().cut_off(), IsEmpty());
}

TEST_F(RepairTest, APairThatSomebodyRenamedIsItsContainersAsEver) {
    node().run(formatted("ip link set {} name other0", record_.host_name));
    ASSERT_TRUE(manager().resync());
    expect_whole();
    stop();
    start();
    expect_whole();
    ASSERT_TRUE(manager().detach("web"));
    EXPECT_FALSE(node().succeeds("ip link show other0"));
}

TEST_F(RepairTest, APairThatWasDeletedWhileNoDaemonRanIsNamedToo) {
    stop();
    node().run("ip link del " + record_.host_name);
    start();
    EXPECT_THAT(manager().cut_off(), ElementsAre(testing::Pair("web", record_.host_name)));
    record_ = attach(*web_, "web")->record;
    EXPECT_THAT(manager().cut_off(), IsEmpty());
    expect_whole();
}

TEST_F(RepairTest, WhatAFullDiskKeptFromBeingForgottenIsForgottenLater) {
    {
        const FullDisk full;
        const auto detached = manager().detach("web");
        ASSERT_FALSE(detached);
        EXPECT_THAT(detached.error().message(), HasSubstr("state.db"));
        EXPECT_FALSE(web_->succeeds("ip link show eth0")) << "the kernel's side goes all the same";
        EXPECT_FALSE(manager().resync());
    }
    EXPECT_THAT(*store().endpoints(), SizeIs(1));
    ASSERT_TRUE(manager().resync());
    EXPECT_THAT(*store().endpoints(), IsEmpty());
    EXPECT_THAT(*store().freed_addresses(), SizeIs(2));
}

TEST_F(RepairTest, FreedAddressesRestOverARestart) {
    const ContainerNamespace db;
    ASSERT_TRUE(attach(db, "db"));
    ASSERT_TRUE(manager().detach("db"));
    ASSERT_TRUE(manager().detach("web"));
    start();
    EXPECT_EQ(attach(*web_, "web")->record.ipv4->to_string(), "10.77.0.4");
    EXPECT_THAT(*store().freed_addresses(), SizeIs(4));
    EXPECT_EQ(attach(db, "db", with_address("10.77.0.2"))->record.ipv4->to_string(), "10.77.0.2");
    EXPECT_THAT(*store().freed_addresses(), SizeIs(3));
}

TEST_F(RepairTest, AContainerWithTwoRecordsKeepsTheLast) {
    // What a kill leaves between the commit of a restarted container's new endpoint and the end of the former one.
    const ContainerNamespace again;
    ASSERT_TRUE(manager().detach("web"));
    const auto former = attach(*web_, "web", with_address("10.77.0.50"));
    ASSERT_TRUE(former);
    plumbing().before_step = [&, former = former->record](std::string_view step) {
        if (step == "remove_pair") {
            plumbing().fail_step(1);
        }
    };
    const auto latter = attach(again, "web", with_address("10.77.0.50"));
    ASSERT_TRUE(latter);
    ASSERT_TRUE(store().put_endpoint(former->record));
    start();
    EXPECT_THAT(manager().endpoints(), SizeIs(1));
    EXPECT_TRUE(again.reaches("198.51.100.2"));
    EXPECT_FALSE(web_->succeeds("ip link show eth0"));
    EXPECT_EQ(manager().pool_use("default").in_use, 1U);
    EXPECT_THAT(*store().endpoints(), SizeIs(1));
}

TEST_F(RepairTest, APairThatVanishesWhileItIsTakenUpIsGivenBack) {
    before_restore_ = [&](FailingPlumbing& plumbing) {
        plumbing.before_step = [&](std::string_view step) {
            if (step == "attach_program") {
                node().run("ip link del " + record_.host_name);
            }
        };
    };
    start();
    EXPECT_THAT(manager().endpoints(), IsEmpty());
    EXPECT_THAT(*store().endpoints(), IsEmpty());
    EXPECT_THAT(*datapath().attached_endpoints(), IsEmpty());
    EXPECT_THAT(*datapath().endpoints(), IsEmpty());
}

TEST_F(RepairTest, WhatTheKernelRefusedAtTheStartIsTriedAgain) {
    const ContainerNamespace db;
    ASSERT_TRUE(attach(db, "db"));
    before_restore_ = [](FailingPlumbing& plumbing) {
        plumbing.before_step = [&plumbing, armed = true](std::string_view step) mutable {
            if (step == "attach_program" && std::exchange(armed, false)) {
                plumbing.fail_step(1);
            }
        };
    };
    start();
    EXPECT_EQ(plumbing().failed(), "attach_program");
    EXPECT_THAT(manager().endpoints(), SizeIs(2));
    expect_whole();
    EXPECT_TRUE(db.reaches("198.51.100.2"));
}

TEST_F(RepairTest, ANetworkThatIsNotConfiguredAnyMoreLeavesNothing) {
    config_.networks.push_back({.name = "blue", .ipv4 = *IpPrefix::parse("10.78.0.0/16"), .ipv6 = std::nullopt});
    ASSERT_TRUE(network().sync(config_));
    EXPECT_THAT(node().run("ip addr; ip route"), HasSubstr("10.78.0.1"));
    config_.networks.pop_back();
    start();
    EXPECT_THAT(node().run("ip addr; ip route"), Not(HasSubstr("10.78.")));
    expect_whole();
}

TEST_F(RepairTest, ANetworkWithContainersStaysAlthoughTheConfigurationLacksIt) {
    config_.networks.front().ipv4 = *IpPrefix::parse("10.99.0.0/16");
    const auto started = try_start();
    ASSERT_FALSE(started);
    EXPECT_THAT(started.error().message(), HasSubstr("put the network back until its containers are gone"));
    expect_whole();
}

TEST_F(RepairTest, AGatewayThatTheNextNetworkHasTooStays) {
    ASSERT_TRUE(manager().detach("web"));
    config_.networks.front().ipv4 = *IpPrefix::parse("10.77.0.0/24");
    start();
    EXPECT_THAT(node().run("ip route show type unreachable"), Not(HasSubstr("10.77.0.0/16")));
    ASSERT_TRUE(attach(*web_, "web"));
    EXPECT_TRUE(web_->reaches("10.77.0.1"));
}

TEST_F(RepairTest, AnUplinkThatCannotBeUsedDoesNotKeepTheOthersFromIt) {
    // Sixty-four programs are there already: the kernel takes no more.
    const NetworkNamespace other;
    connect(node(), "up1", other, "eth0");
    const auto up1 = *link::find_device(*std::make_unique<link::Netlink>(*link::Netlink::open()), "up1");
    std::vector<UniqueFd> programs;
    for (int i = 0; i < 63; ++i) {
        programs.push_back(foreign_program("harmless"));
        bpf_prog_attach_opts(programs.back().get(), static_cast<int>(up1->ifindex), BPF_TCX_EGRESS, nullptr);
    }
    config_.uplinks = {"up0", "up1"};
    start();
    EXPECT_TRUE(web_->reaches("198.51.100.2"));
    const auto& uplinks = network().uplinks();
    ASSERT_THAT(uplinks, SizeIs(2));
    EXPECT_EQ(uplinks[0].unusable, "");
    EXPECT_THAT(uplinks[1].unusable, HasSubstr("up1"));
}

}  // namespace
}  // namespace netkitd::test
