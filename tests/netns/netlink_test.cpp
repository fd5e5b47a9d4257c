// Requests, batches, dumps and namespaces.
#include "netlink/socket.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "harness/netns.h"
#include "link/configure.h"
#include "link/device.h"
#include "link/ipsec.h"
#include "link/sysctl.h"
#include "netlink/attributes.h"
#include "netlink/netns.h"
#include "netlink/request.h"

namespace netkitd::link {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class NetlinkTest : public test::NetnsTest {
protected:
    void SetUp() override {
        NetnsTest::SetUp();
        if (!IsSkipped()) {
            socket_ = std::make_unique<Netlink>(Netlink::open().value());
        }
    }
    Netlink& socket() { return *socket_; }

private:
    std::unique_ptr<Netlink> socket_;
};

NetlinkRequest add_veth(const std::string& name) {
    NetlinkRequest request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, formatted("create {}", name));
    request.put_struct(device_message(0)).put_string(IFLA_IFNAME, name);
    const auto link_info = request.start_nest(IFLA_LINKINFO);
    request.put_string(IFLA_INFO_KIND, "veth");
    request.end_nest(link_info);
    return request;
}

NetlinkRequest set_up(std::uint32_t ifindex) {
    NetlinkRequest request(RTM_SETLINK, 0, formatted("set device {} up", ifindex));
    request.put_struct(device_message(ifindex, 1 /* IFF_UP */));
    return request;
}

NetlinkRequest add_route_via(const std::string& gateway) {
    NetlinkRequest request(RTM_NEWROUTE, NLM_F_CREATE, formatted("add default route via {}", gateway));
    rtmsg route{};
    route.rtm_family = AF_INET;
    route.rtm_table = RT_TABLE_MAIN;
    route.rtm_type = RTN_UNICAST;
    request.put_struct(route).put_address(RTA_GATEWAY, IpAddr::parse(gateway).value());
    return request;
}

TEST_F(NetlinkTest, AnErrorCarriesTheKernelsExplanation) {
    NetlinkRequest request = add_route_via("192.0.2.1");
    const Result<void> added = socket().transact(request);
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().system_error(), ENETUNREACH);
    EXPECT_EQ(added.error().message(),
              "add default route via 192.0.2.1: Network is unreachable (Nexthop has invalid gateway)");
}

TEST_F(NetlinkTest, AnErrorNamesTheAttributeThatTheKernelRejects) {
    NetlinkRequest request = add_veth("a-name-that-is-too-long");
    const Result<void> created = socket().transact(request);
    ASSERT_FALSE(created);
    EXPECT_EQ(created.error().system_error(), ERANGE);
    EXPECT_EQ(created.error().message(),
              "create a-name-that-is-too-long: Numerical result out of range (Attribute failed policy validation, "
              "attribute type 3 at byte 32)");  // IFLA_IFNAME, right behind nlmsghdr and ifinfomsg
}

TEST_F(NetlinkTest, ABatchReturnsItsFirstErrorAndTheKernelCarriesOutTheRest) {
    std::vector<NetlinkRequest> batch;
    batch.push_back(add_veth("first0"));
    batch.push_back(set_up(9999));
    batch.push_back(add_veth("first0"));
    batch.push_back(add_veth("last0"));
    const Result<void> done = socket().transact(batch);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().system_error(), ENODEV);
    EXPECT_THAT(done.error().message(), HasSubstr("set device 9999 up: No such device"));
    EXPECT_TRUE(node().succeeds("ip link show first0 && ip link show last0"));
}

// The reason why create_pair reads back what it asked for.
TEST_F(NetlinkTest, TheKernelIgnoresInfoDataThatItDoesNotKnow) {
    NetlinkRequest request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, "create odd0");
    request.put_struct(device_message(0)).put_string(IFLA_IFNAME, "odd0");
    const auto link_info = request.start_nest(IFLA_LINKINFO);
    request.put_string(IFLA_INFO_KIND, "veth");
    const auto data = request.start_nest(IFLA_INFO_DATA);
    request.put_u32(1000, 1);
    request.end_nest(data);
    request.end_nest(link_info);
    const Result<void> created = socket().transact(request);
    EXPECT_TRUE(created) << created.error().message();
}

TEST_F(NetlinkTest, ASocketIsAsGoodAsNewAfterAnError) {
    for (int round = 0; round < 3; ++round) {
        NetlinkRequest wrong = set_up(9999);
        EXPECT_FALSE(socket().transact(wrong));
        EXPECT_TRUE(list_devices(socket()));
    }
}

TEST_F(NetlinkTest, ALargeBatchIsAcknowledgedWhole) {
    std::vector<NetlinkRequest> batch;
    for (int i = 0; i < 1000; ++i) {
        batch.push_back(set_up(1));
    }
    batch.push_back(set_up(9999));
    EXPECT_EQ(socket().transact(batch).error().system_error(), ENODEV);
    NetlinkRequest fine = set_up(1);
    EXPECT_TRUE(socket().transact(fine));
}

TEST_F(NetlinkTest, ADumpLargerThanAnyBufferIsReadWhole) {
    std::string script;
    for (int i = 0; i < 2000; ++i) {
        script += formatted("address add 10.{}.{}.1/32 dev lo\n", i / 250, i % 250);
    }
    node().run(formatted("ip -batch - <<'END'\n{}END", script));
    NetlinkRequest request(RTM_GETADDR, NLM_F_DUMP, "list addresses");
    request.put_struct(ifaddrmsg{});
    int addresses = 0;
    EXPECT_TRUE(socket().query(request, [&](const nlmsghdr&) { ++addresses; }));
    EXPECT_EQ(addresses, 2000 + 2);  // 127.0.0.1 and ::1
}

TEST_F(NetlinkTest, ADumpThatChangesWhileItIsReadIsWholeInTheEnd) {
    node().run("for i in $(seq 200); do echo link add v$i type veth peer name w$i; done | ip -batch -");
    std::atomic<bool> stop = false;
    std::thread changes([&, netns = node().fd()] {
        Netlink other = Netlink::open_in(netns).value();
        for (std::uint32_t i = 0; !stop; ++i) {
            NetlinkRequest create = add_veth("flicker0");
            static_cast<void>(other.transact(create));
            const Device made = find_device(other, "flicker0").value().value_or(Device());
            static_cast<void>(remove_device(other, made.ifindex));
        }
    });
    for (int round = 0; round < 50; ++round) {
        const auto devices = list_devices(socket());
        if (!devices) {
            // Sixteen interruptions in a row are reported, never half a list.
            EXPECT_EQ(devices.error().kind(), ErrorKind::unavailable) << devices.error().message();
            continue;
        }
        EXPECT_GE(devices->size(), 401U);
        EXPECT_LE(devices->size(), 403U);
    }
    stop = true;
    changes.join();
}

TEST_F(NetlinkTest, OpensInsideAnotherNamespaceAndComesBack) {
    test::NetworkNamespace container;
    container.run("ip link add only0 type veth");
    const std::uint64_t home = current_netns_cookie().value();

    Netlink inside = Netlink::open_in(container.fd()).value();
    EXPECT_EQ(current_netns_cookie().value(), home);
    EXPECT_TRUE(find_device(inside, "only0").value());
    EXPECT_FALSE(find_device(socket(), "only0").value());
    EXPECT_EQ(socket().netns_cookie().value(), home);
    EXPECT_NE(inside.netns_cookie().value(), home);
}

TEST_F(NetlinkTest, ACookieIsNeverUsedAgainThoughTheInodeIs) {
    std::vector<std::uint64_t> cookies;
    for (int i = 0; i < 20; ++i) {
        test::NetworkNamespace container;
        cookies.push_back(Netlink::open_in(container.fd()).value().netns_cookie().value());
    }
    std::ranges::sort(cookies);
    EXPECT_EQ(std::ranges::adjacent_find(cookies), cookies.end());
}

TEST_F(NetlinkTest, TheThreadIsBackInItsNamespaceWhenAFunctionFails) {
    test::NetworkNamespace container;
    const std::uint64_t home = current_netns_cookie().value();
    std::uint64_t inside = 0;
    const Result<void> done = in_netns(container.fd(), [&]() -> Result<void> {
        inside = current_netns_cookie().value();
        return fail(ErrorKind::refused, "no");
    });
    EXPECT_EQ(done.error().message(), "no");
    EXPECT_NE(inside, home);
    EXPECT_EQ(current_netns_cookie().value(), home);
    EXPECT_THROW(container.inside([] { throw std::runtime_error("thrown"); }), std::runtime_error);
    EXPECT_EQ(current_netns_cookie().value(), home);
}

TEST_F(NetlinkTest, OnlyANetworkNamespaceIsTakenForOne) {
    EXPECT_TRUE(open_netns("/proc/self/ns/net"));
    EXPECT_THAT(open_netns("/proc/self/ns/mnt").error().message(),
                AllOf(HasSubstr("/proc/self/ns/mnt"), HasSubstr("not a network namespace")));
    EXPECT_EQ(open_netns("/proc/self/status").error().kind(), ErrorKind::invalid);
    EXPECT_EQ(open_netns("/nowhere/at/all").error().kind(), ErrorKind::not_found);
    EXPECT_FALSE(require_netns(-1));
    EXPECT_FALSE(in_netns(-1, []() -> Result<void> { return {}; }));
}

TEST_F(NetlinkTest, AFifoInPlaceOfANamespaceHoldsNobodyUp) {
    const std::string fifo = std::filesystem::temp_directory_path() / formatted("netns-fifo-{}", ::getpid());
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    const auto opened = open_netns(fifo);
    std::filesystem::remove(fifo);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().kind(), ErrorKind::invalid);
}

TEST_F(NetlinkTest, SysctlsAreThoseOfTheThreadsNamespace) {
    test::NetworkNamespace container;
    ASSERT_TRUE(write_sysctl("ipv4/conf/all/forwarding", "0"));
    ASSERT_TRUE(in_netns(container.fd(), [] { return write_sysctl("ipv4/conf/all/forwarding", "1"); }));
    EXPECT_EQ(read_sysctl("ipv4/conf/all/forwarding").value(), "0");
    EXPECT_EQ(container.run("cat /proc/sys/net/ipv4/conf/all/forwarding"), "1\n");
}

TEST_F(NetlinkTest, ANetnsHasSysctlsOfItsOwn) {
    test::NetworkNamespace container;
    const Sysctls host = Sysctls::open().value();
    ASSERT_TRUE(host.write("ipv4/conf/all/forwarding", "0"));
    EXPECT_TRUE(in_netns(container.fd(), []() -> Result<void> {
        const Sysctls sysctls = NK_TRY(Sysctls::open());
        NK_TRY(sysctls.write("ipv4/conf/all/forwarding", "1"));
        NK_TRY(sysctls.write("ipv6/conf/lo/forwarding", "1"));
        return {};
    }));
    EXPECT_EQ(host.read("ipv4/conf/all/forwarding").value(), "0");
    EXPECT_EQ(container.run("cat /proc/sys/net/ipv4/conf/all/forwarding /proc/sys/net/ipv6/conf/lo/forwarding"),
              "1\n1\n");
    EXPECT_EQ(host.read_if_there("ipv6/conf/nosuch0/forwarding").value(), std::nullopt);
    EXPECT_EQ(host.read("ipv6/conf/nosuch0/forwarding").error().kind(), ErrorKind::not_found);
    EXPECT_EQ(host.read("ipv4/../../kernel/hostname").error().kind(), ErrorKind::invalid);
    EXPECT_EQ(host.read("core/somaxconn").value(), read_sysctl("core/somaxconn").value());
}

TEST_F(NetlinkTest, ASysctlThatDoesNotExistIsNotFound) {
    EXPECT_EQ(read_sysctl("ipv4/conf/nosuch0/forwarding").error().kind(), ErrorKind::not_found);
    EXPECT_EQ(write_sysctl("ipv4/conf/nosuch0/forwarding", "1").error().kind(), ErrorKind::not_found);
}

TEST_F(NetlinkTest, ASysctlErrorNamesTheSysctlAndTheValue) {
    const Result<void> written = write_sysctl("ipv4/ip_local_port_range", "1 2 3 nonsense");
    ASSERT_FALSE(written);
    EXPECT_THAT(written.error().message(), AllOf(HasSubstr("ipv4/ip_local_port_range"), HasSubstr("nonsense")));
    EXPECT_EQ(read_sysctl("../kernel/hostname").error().kind(), ErrorKind::invalid);
    EXPECT_EQ(read_sysctl("/etc/passwd").error().kind(), ErrorKind::invalid);
    EXPECT_EQ(read_sysctl("").error().kind(), ErrorKind::invalid);
}

TEST_F(NetlinkTest, IpsecPoliciesAreCounted) {
    EXPECT_EQ(outbound_ipsec_policies().value(), 0U);
    node().run(
        "ip xfrm policy add src 10.0.0.0/8 dst 10.9.0.0/16 dir out"
        " tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode tunnel");
    EXPECT_EQ(outbound_ipsec_policies().value(), 1U);
}

}  // namespace
}  // namespace netkitd::link
