// The attach transaction and the endpoints' life on a real kernel.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "harness/full_disk.h"
#include "harness/node_test.h"
#include "harness/traffic.h"
#include "harness/wait.h"

namespace netkitd::test {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class AttachTest : public NodeTest {};

using Container = ContainerNamespace;

AttachOptions with_address(const char* address) {
    AttachOptions options;
    options.ipv4 = *IpAddr::parse(address);
    return options;
}

TEST_F(AttachTest, ContainerGetsAnAddressAGatewayThatAnswersAndTheOutside) {
    const Container web;
    const auto reply = attach(web, "web");
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_EQ(reply->record.ipv4->to_string(), "10.77.0.2");
    EXPECT_THAT(web.run("ip -o -4 addr show dev eth0"), HasSubstr("10.77.0.2/32"));
    EXPECT_THAT(web.run("ip route"), HasSubstr("default via 10.77.0.1 dev eth0"));
    EXPECT_TRUE(web.reaches("10.77.0.1"));
    EXPECT_TRUE(web.reaches("198.51.100.2"));
    EXPECT_TRUE(node().reaches("10.77.0.2"));
}

TEST_F(AttachTest, TwoContainersReachEachOtherAndNobodyElseIsReachable) {
    const Container web;
    const Container db;
    ASSERT_TRUE(attach(web, "web"));
    ASSERT_TRUE(attach(db, "db"));
    EXPECT_TRUE(web.reaches("10.77.0.3"));
    EXPECT_TRUE(db.reaches("10.77.0.2"));
    EXPECT_TRUE(web.cannot_reach("10.77.0.9"));
}

// Holds the kernel's rtnl lock most of the time, as a host does on which many devices come and go.
class BusyHost {
public:
    BusyHost() {
        for (int i = 0; i < 4; ++i) {
            threads_.emplace_back([this](const std::stop_token& stop) { make_and_remove_pairs(stop); });
        }
    }

private:
    void make_and_remove_pairs(const std::stop_token& stop) const {
        const NetworkNamespace other;
        auto host = link::Netlink::open_in(elsewhere_.fd()).value();
        auto container = link::Netlink::open_in(other.fd()).value();
        const link::PairSpec spec{.mode = link::DeviceMode::veth,
                                  .host_name = formatted("busy{}", other.fd()),
                                  .host_alias = "",
                                  .peer_netns = other.fd(),
                                  .peer_name = "eth0",
                                  .mtu = 1500};
        while (!stop.stop_requested()) {
            const auto pair = link::create_pair(host, container, spec);
            ASSERT_TRUE(pair) << pair.error().message();
            ASSERT_TRUE(link::remove_device(host, pair->host_ifindex));
        }
    }

    NetworkNamespace elsewhere_;
    std::vector<std::jthread> threads_;
};

TEST_F(AttachTest, WhoIsToldYesMaySendAtOnceOnABusyHostToo) {
    const BusyHost busy;
    constexpr int kAsked = 30;
    int told_yes = 0;
    for (int i = 0; i < kAsked; ++i) {
        const Container container;
        const auto reply = attach(container, formatted("container-{}", i));
        if (!reply) {
            EXPECT_THAT(reply.error().message(), HasSubstr("start the container again")) << "too busy, and for long";
            continue;
        }
        ++told_yes;
        EXPECT_TRUE(container.reaches("10.77.0.1")) << i;
        EXPECT_TRUE(container.reaches("fd6e:6b64::1")) << i;
    }
    EXPECT_GE(told_yes, kAsked / 2);
}

TEST_F(AttachTest, TheMtuIsTheUplinks) {
    node().run("ip link set up0 mtu 1400");
    start();
    const Container web;
    ASSERT_TRUE(attach(web, "web"));
    EXPECT_THAT(web.run("ip -o link show eth0"), HasSubstr("mtu 1400"));
}

TEST_F(AttachTest, EveryStepThatFailsLeavesNothingBehind) {
    const Container web;
    const std::string before = snapshot(web);
    std::set<std::string> failed;
    AttachOptions options;
    options.publish = parse_published_ports("198.51.100.1:8080:80,53:53/udp").value();
    for (int number = 1;; ++number) {
        plumbing().fail_step(number);
        const auto reply = attach(web, "web", options);
        if (!plumbing().failed()) {
            ASSERT_TRUE(reply) << reply.error().message();
            break;
        }
        const std::string& step = *plumbing().failed();
        failed.insert(step);
        ASSERT_FALSE(reply) << "step " << step << " failed and nobody noticed";
        EXPECT_THAT(reply.error().message(), HasSubstr("Input/output error")) << step;
        EXPECT_EQ(snapshot(web), before) << "after " << step << " failed";
    }
    EXPECT_THAT(failed, testing::IsSupersetOf({"enter", "container_takes_ipv6", "create_pair", "set_local_ports",
                                               "configure_container_end", "attach_program", "put_entry",
                                               "set_host_end_up", "await_container_end", "reserve_ports",
                                               "own_addresses", "host_sockets", "put_frontends"}));
    EXPECT_TRUE(web.reaches("198.51.100.2"));
}

TEST_F(AttachTest, AProgramThatBindsItsPortMeanwhileIsNotCheatedOfIt) {
    const Container web;
    const std::string before = snapshot(web);
    UniqueFd bound;
    plumbing().before_step = [&](std::string_view step) {
        if (step == "put_frontends") {
            bound = socket_bound_to(node(), with_port(echo_at("198.51.100.1"), 8080), SOCK_STREAM);
        }
    };
    AttachOptions options;
    options.publish = parse_published_ports("8080:80").value();
    const auto reply = attach(web, "web", options);
    ASSERT_FALSE(reply);
    EXPECT_THAT(reply.error().message(), HasSubstr("port 8080/tcp of this host is taken by"));
    EXPECT_EQ(snapshot(web), before);
}

TEST_F(AttachTest, AFullDiskFailsTheAttachAndLeavesNothingBehind) {
    const Container web;
    const std::string before = snapshot(web);
    auto reply = [&] {
        const FullDisk full;
        return attach(web, "web");
    }();
    ASSERT_FALSE(reply);
    EXPECT_THAT(reply.error().message(), HasSubstr("state.db"));
    EXPECT_EQ(snapshot(web), before);
    EXPECT_TRUE(attach(web, "web"));
}

TEST_F(AttachTest, AStepThatFailsWhileAStaticAddressMovesLeavesItWhereItWas) {
    const Container first;
    const Container second;
    ASSERT_TRUE(attach(first, "web", with_address("10.77.0.50")));
    const std::string before = snapshot(second);
    for (int number = 1;; ++number) {
        plumbing().fail_step(number);
        const auto reply = attach(second, "web", with_address("10.77.0.50"));
        if (reply) {
            break;
        }
        EXPECT_EQ(snapshot(second), before) << "after " << plumbing().failed().value_or("nothing") << " failed";
        EXPECT_TRUE(node().reaches("10.77.0.50")) << "after " << plumbing().failed().value_or("nothing") << " failed";
    }
    EXPECT_TRUE(second.reaches("198.51.100.2"));
    // The step that failed last was the removal of the former pair: too late to fail the attach, so it is tried again.
    ASSERT_TRUE(manager().resync());
    EXPECT_FALSE(first.succeeds("ip link show eth0"));
    EXPECT_THAT(manager().endpoints(), SizeIs(1));
}

TEST_F(AttachTest, TheHostsOwnNetworkIsRefusedWithTheWayOut) {
    const auto reply = attach(node(), "web");
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().kind(), ErrorKind::refused);
    EXPECT_THAT(reply.error().message(), HasSubstr("--network none"));
}

TEST_F(AttachTest, AnInterfaceOfThatNameIsRefusedWithTheWayOut) {
    const Container web;
    const NetworkNamespace other;
    connect(web, "eth0", other, "eth0");
    const auto reply = attach(web, "web");
    ASSERT_FALSE(reply);
    EXPECT_THAT(reply.error().message(), HasSubstr("already has an interface eth0"));
    EXPECT_THAT(reply.error().message(), HasSubstr("io.netkitd.interface"));
    AttachOptions options;
    options.interface_name = "nk0";
    EXPECT_TRUE(attach(web, "web", options));
}

TEST_F(AttachTest, AnUnknownNetworkIsRefusedAndTheOthersAreNamed) {
    const Container web;
    AttachOptions options;
    options.network = "blue";
    const auto reply = attach(web, "web", options);
    ASSERT_FALSE(reply);
    EXPECT_THAT(reply.error().message(), HasSubstr("no network 'blue'"));
    EXPECT_THAT(reply.error().message(), HasSubstr("default"));
}

TEST_F(AttachTest, BeforeTheProgramIsAttachedNothingLeaks) {
    const Container web;
    bool looked = false;
    plumbing().before_step = [&](std::string_view step) {
        if (step != "attach_program") {
            return;
        }
        // The container's end has its address and routes: what it sends now would pass by every check.
        looked = true;
        EXPECT_THAT(web.run("ip -4 route"), HasSubstr("default via 10.77.0.1"));
        EXPECT_FALSE(web.succeeds("ping -c 2 -i 0.1 -W 1 10.77.0.1"));
        EXPECT_FALSE(web.succeeds("ping -c 2 -i 0.1 -W 1 198.51.100.2"));
        EXPECT_EQ(
            node().run("ip -s -json link | jq -c '[.[] | select(.ifname | startswith(\"nk\")) | .stats64.rx.packets]'"),
            "[0]\n");
    };
    ASSERT_TRUE(attach(web, "web"));
    EXPECT_TRUE(looked);
    // Asked into the void, it gives its neighbour up after three seconds, and asks anew.
    EXPECT_TRUE(web.succeeds("for try in 1 2 3 4 5; do ping -n -c 1 -W 2 198.51.100.2 && exit; done; exit 1"));
}

TEST_F(AttachTest, NetkitWhereTheKernelHasNoneIsRefused) {
    if (config_.device_mode == link::DeviceMode::netkit) {
        GTEST_SKIP() << "this kernel has netkit";
    }
    const Container web;
    AttachOptions options;
    options.device_mode = link::DeviceMode::netkit;
    const auto reply = attach(web, "web", options);
    ASSERT_FALSE(reply);
    EXPECT_THAT(reply.error().message(), HasSubstr("io.netkitd.device-mode"));
}

TEST_F(AttachTest, AskedAgainForTheSameNamespaceItAnswersWithWhatIsThere) {
    const Container web;
    const auto first = attach(web, "web");
    const auto again = attach(web, "web");
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_TRUE(again->existing);
    EXPECT_EQ(again->record.ipv4, first->record.ipv4);
    EXPECT_THAT(manager().endpoints(), SizeIs(1));
}

TEST_F(AttachTest, APodsContainersShareTheEndpointAndTheLastOneGivesItBack) {
    const Container pod;
    ASSERT_TRUE(attach(pod, "infra"));
    const auto member = attach(pod, "web");
    ASSERT_TRUE(member);
    EXPECT_THAT(member->record.members, SizeIs(2));
    ASSERT_TRUE(manager().detach("infra"));
    EXPECT_TRUE(pod.reaches("198.51.100.2"));
    ASSERT_TRUE(manager().detach("web"));
    EXPECT_FALSE(pod.succeeds("ip link show eth0"));
    EXPECT_THAT(manager().endpoints(), IsEmpty());
}

// It is one container: what it had elsewhere is over.
TEST_F(AttachTest, AContainerThatJoinsAnotherNamespacesEndpointGivesItsOwnBack) {
    const ContainerNamespace first;
    const ContainerNamespace second;
    ASSERT_TRUE(attach(first, "web"));
    ASSERT_TRUE(attach(second, "db"));
    const auto joined = attach(second, "web");
    ASSERT_TRUE(joined);
    EXPECT_TRUE(joined->existing);
    ASSERT_EQ(manager().endpoints().size(), 1U);
    EXPECT_EQ(manager().endpoints().begin()->second.record.members.size(), 2U);
    EXPECT_FALSE(first.succeeds("ip link show eth0"));
    ASSERT_TRUE(manager().detach("db"));
    ASSERT_TRUE(manager().detach("web"));
    EXPECT_TRUE(manager().endpoints().empty());
}

TEST_F(AttachTest, APodsContainerThatAsksForSomethingElseIsRefused) {
    const Container pod;
    ASSERT_TRUE(attach(pod, "infra"));
    const auto reply = attach(pod, "web", with_address("10.77.0.50"));
    ASSERT_FALSE(reply);
    EXPECT_THAT(reply.error().message(), HasSubstr("infra"));
    const auto again = attach(pod, "infra", with_address("10.77.0.50"));
    ASSERT_FALSE(again);
    EXPECT_THAT(again.error().message(), HasSubstr("attached here with other io.netkitd.* annotations"));
}

TEST_F(AttachTest, ARestartedContainerHasItsNewEndpointBeforeTheOldOneGoes) {
    const Container first;
    const Container second;
    ASSERT_TRUE(attach(first, "web"));
    const auto reply = attach(second, "web");
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_EQ(reply->record.ipv4->to_string(), "10.77.0.3");
    EXPECT_THAT(reply->notes, Contains(HasSubstr("attached in another network namespace, with 10.77.0.2")));
    EXPECT_FALSE(first.succeeds("ip link show eth0"));
    EXPECT_THAT(manager().endpoints(), SizeIs(1));
}

// The kernel takes the pair with the namespace, and the daemon hears of it later: what it then gives back must not be
// what the container's new endpoint has by that name.
TEST_F(AttachTest, ARestartBeforeTheKernelsNoticeKeepsItsProgram) {
    std::optional<ContainerNamespace> former(std::in_place);
    const auto before = attach(*former, "web");
    ASSERT_TRUE(before);
    former.reset();
    ASSERT_TRUE(eventually([&] { return !node().succeeds("ip link show " + before->record.host_name); }));
    const Container web;
    const auto after = attach(web, "web");
    ASSERT_TRUE(after) << after.error().message();
    EXPECT_THAT(*datapath().attached_endpoints(), ElementsAre(after->record.host_name));
    EXPECT_TRUE(web.reaches("198.51.100.2"));
}

TEST_F(AttachTest, AStaticAddressInUseIsRefused) {
    const Container web;
    const Container db;
    ASSERT_TRUE(attach(web, "web", with_address("10.77.0.50")));
    const auto reply = attach(db, "db", with_address("10.77.0.50"));
    ASSERT_FALSE(reply);
    EXPECT_THAT(reply.error().message(), HasSubstr("10.77.0.50"));
}

TEST_F(AttachTest, WhenTheAddressesAreUsedUpTheErrorSaysSo) {
    config_.networks.front().ipv4 = *IpPrefix::parse("10.77.0.0/29");
    start();
    std::vector<NetworkNamespace> containers(6);
    for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(attach(containers.at(static_cast<std::size_t>(i)), formatted("c{}", i)));
    }
    const auto reply = attach(containers.at(5), "c5");
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().kind(), ErrorKind::exhausted);
    EXPECT_THAT(reply.error().message(), HasSubstr("default"));
}

TEST_F(AttachTest, AProcessThatEndsMakesItDyingAndTheKernelsNoticeFreesIt) {
    std::optional<NetworkNamespace> web(std::in_place);
    const auto reply = attach(*web, "web");
    ASSERT_TRUE(reply);
    manager().process_exited("web");
    EXPECT_TRUE(manager().find_container("web")->dying());
    web.reset();
    ASSERT_TRUE(manager().device_removed(reply->record.host_ifindex));
    EXPECT_THAT(manager().endpoints(), IsEmpty());
    EXPECT_THAT(*store().endpoints(), IsEmpty());
    EXPECT_THAT(*datapath().endpoints(), IsEmpty());
    EXPECT_THAT(*datapath().attached_endpoints(), IsEmpty());
    EXPECT_EQ(manager().pool_use("default").in_use, 0U);
}

// So that what the kernel says of it meanwhile is not taken for a change of the node's network.
TEST_F(AttachTest, ADeviceIsItsOwnUntilTheKernelSaysThatItIsGone) {
    const Container web;
    const auto reply = attach(web, "web");
    ASSERT_TRUE(reply) << reply.error().message();
    const std::uint32_t device = reply->record.host_ifindex;
    EXPECT_TRUE(manager().has_device(device));
    ASSERT_TRUE(manager().detach("web"));
    EXPECT_FALSE(manager().has_device(device));
    EXPECT_TRUE(manager().has_or_had_device(device));
    ASSERT_TRUE(manager().device_removed(device));
    EXPECT_FALSE(manager().has_or_had_device(device));
}

TEST_F(AttachTest, DetachOfAnUnknownContainerIsDone) {
    EXPECT_TRUE(manager().detach("nobody"));
}

TEST_F(AttachTest, ARestartTakesUpWhatIsThere) {
    const Container web;
    ASSERT_TRUE(attach(web, "web"));
    stop();
    EXPECT_TRUE(web.reaches("198.51.100.2")) << "without a daemon";
    start();
    ASSERT_NE(manager().find_container("web"), nullptr);
    EXPECT_TRUE(web.reaches("198.51.100.2"));
    const Container db;
    EXPECT_EQ(attach(db, "db")->record.ipv4->to_string(), "10.77.0.3");
}

TEST_F(AttachTest, AHomeStaysOverARestartAndIsGivenToTheSameContainerAgain) {
    const Container web;
    const Container db;
    const Container other;
    const auto home_of = [this](const Result<AttachReply>& reply) {
        const auto entries = datapath().endpoints().value();
        const auto entry = std::ranges::find(entries, reply->record.id, &datapath::EndpointEntry::id);
        EXPECT_NE(entry, entries.end());
        return entry->home;
    };
    const auto first = attach(web, "web");
    const auto second = attach(db, "db");
    const std::uint32_t home = home_of(first);
    EXPECT_NE(home_of(second), home);
    stop();
    start();
    EXPECT_EQ(home_of(first), home);
    const auto third = attach(other, "other");
    EXPECT_NE(home_of(third), home);
    EXPECT_NE(home_of(third), home_of(second));
    ASSERT_TRUE(manager().detach("web"));
    ASSERT_TRUE(manager().detach("other"));
    EXPECT_NE(home_of(attach(other, "another")), home);
    EXPECT_EQ(home_of(attach(web, "web")), home);
}

TEST_F(AttachTest, RestartsLoseNoPacketOfAFlow) {
    const Container web;
    ASSERT_TRUE(attach(web, "web"));
    web.run("ping -q -i 0.002 -c 1000 -W 2 198.51.100.2 > " + scratch("ping") + " 2>&1 &");
    for (int restart = 0; restart < 10; ++restart) {
        start();
    }
    node().run("for i in $(seq 100); do grep -q loss " + scratch("ping") + " && break; sleep 0.1; done");
    EXPECT_THAT(node().run("cat " + scratch("ping")), HasSubstr("1000 packets transmitted, 1000 received"));
}

TEST_F(AttachTest, ARestartGivesBackWhatEndedMeanwhile) {
    std::optional<NetworkNamespace> web(std::in_place);
    ASSERT_TRUE(attach(*web, "web"));
    stop();
    node().run("ip link del $(ip -o link | grep -o 'nk[0-9a-f]\\{8\\}' | head -1)");
    start();
    EXPECT_THAT(manager().endpoints(), IsEmpty());
    EXPECT_THAT(*datapath().endpoints(), IsEmpty());
    EXPECT_THAT(*datapath().attached_endpoints(), IsEmpty());
}

TEST_F(AttachTest, ARestartRemovesAPairThatNobodyWasToldOf) {
    // What a kill between the pair and the commit leaves: everything but the record.
    const Container web;
    const auto reply = attach(web, "web");
    ASSERT_TRUE(reply);
    ASSERT_TRUE(store().remove_endpoint(reply->record.id, {}));
    // A kill just after the pair was made leaves it without an alias.
    node().run("ip link set " + reply->record.host_name + " alias ''");
    // Somebody else's device of such a name is left alone.
    node().run("ip link add nk00000000 type veth peer name other");
    start();
    EXPECT_TRUE(node().succeeds("ip link show nk00000000"));
    EXPECT_FALSE(web.succeeds("ip link show eth0"));
    EXPECT_THAT(*datapath().endpoints(), IsEmpty());
    EXPECT_THAT(*datapath().attached_endpoints(), IsEmpty());
}

TEST_F(AttachTest, ANetworkInUseCannotBeTakenOutOfTheConfiguration) {
    const Container web;
    ASSERT_TRUE(attach(web, "web"));
    Config other = default_config();
    other.networks.front().ipv4 = *IpPrefix::parse("10.99.0.0/16");
    const auto result = manager().reconfigure(other);
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error().message(), HasSubstr("container web"));
}

}  // namespace
}  // namespace netkitd::test
