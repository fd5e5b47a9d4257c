// Which connections are found by the sockets of their containers (bpf/owner_sockets.bpf.c), and that a flow lives for
// as long as such a socket does, whatever strangers send.
#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <vector>

#include "datapath/address.h"
#include "harness/node_test.h"
#include "harness/traffic.h"
#include "harness/wait.h"
#include "link/netns_processes.h"
#include "nat/flow_sweeper.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;

struct Family {
    std::string name;
    std::string gateway;
    std::string outside;
};
const Family kV4{.name = "V4", .gateway = "10.77.0.1", .outside = "198.51.100.2"};
const Family kV6{.name = "V6", .gateway = "fd6e:6b64::1", .outside = "2001:db8::2"};

struct End {
    nk_addr address{};
    __be16 port = 0;
};

End end_of(const sockaddr_storage& address) {
    if (address.ss_family == AF_INET6) {
        const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
        return {.address = datapath::to_nk_addr(IpAddr::v6(v6.sin6_addr)), .port = v6.sin6_port};
    }
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return {.address = datapath::to_nk_addr(IpAddr::v4(v4.sin_addr)), .port = v4.sin_port};
}

class OwnerSocketTest : public NodeTest, public testing::WithParamInterface<Family> {
protected:
    void SetUp() override {
        NodeTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        node().run("ip addr add 2001:db8::1/64 dev up0 nodad && ip route add default via 2001:db8::2");
        outside().run("ip addr add 2001:db8::2/64 dev eth0 nodad");
        ASSERT_TRUE(network().sync(config_));
        web_ = attach_new(web_netns_, "web");
        db_ = attach_new(db_netns_, "db");
    }
    [[nodiscard]] EndpointRecord attach_new(const NetworkNamespace& netns, const std::string& id) {
        auto reply = attach(netns, id);
        EXPECT_TRUE(reply) << reply.error().message();
        return reply ? reply->record : EndpointRecord();
    }
    static std::uint32_t netns_id(const EndpointRecord& record) {
        auto host = link::Netlink::open();
        const auto id = link::peer_netns_id(*host, record.host_ifindex);
        EXPECT_TRUE(id && *id);
        return id->value();
    }
    [[nodiscard]] UniqueFd connect(const std::string& to, std::string_view device = "") const {
        const Address address = echo_at(to);
        UniqueFd socket = socket_in(web_netns_, address, SOCK_STREAM);
        if (!device.empty()) {
            EXPECT_EQ(::setsockopt(socket.get(), SOL_SOCKET, SO_BINDTODEVICE, device.data(),
                                   static_cast<socklen_t>(device.size())),
                      0);
        }
        EXPECT_EQ(::connect(socket.get(), address.get(), address.size), 0) << std::strerror(errno);
        return socket;
    }
    // For whom all flows are web's.
    [[nodiscard]] nat::FlowSweeper sweeper_of_web() {
        return nat::FlowSweeper(datapath(), {.has = [](std::uint32_t) { return true; },
                                             .ended = [] { return 0; },
                                             .netns_id = [this](std::uint32_t) { return netns_id(web_); }});
    }
    // How many flows there are after what is due then. (A walk that is not due never comes.)
    [[nodiscard]] std::size_t flows_left_in(std::chrono::seconds time, nat::FlowSweeper& sweeper) {
        for (int steps = 0; steps < 10; ++steps) {
            EXPECT_TRUE(sweeper.step({}, monotonic_now() + time));
        }
        return nat::FlowTable(datapath()).list(9)->flows.size();
    }
    // About a socket of web's.
    [[nodiscard]] nk_socket_question about(int socket) const {
        sockaddr_storage own{};
        sockaddr_storage peer{};
        socklen_t size = sizeof(own);
        ::getsockname(socket, reinterpret_cast<sockaddr*>(&own), &size);
        size = sizeof(peer);
        ::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &size);
        return {.container = end_of(own).address,
                .remote = end_of(peer).address,
                .container_port = end_of(own).port,
                .remote_port = end_of(peer).port,
                .netns_id = netns_id(web_),
                .family = static_cast<__u8>(own.ss_family),
                .proto = IPPROTO_TCP,
                .answer = 0,
                .reserved = 0};
    }
    [[nodiscard]] bool has(nk_socket_question question) {
        const auto asked = datapath().ask_owner_sockets(std::span(&question, 1));
        EXPECT_TRUE(asked) << asked.error().message();
        return question.answer != 0;
    }

    ContainerNamespace web_netns_;
    ContainerNamespace db_netns_;
    EndpointRecord web_;
    EndpointRecord db_;
};
INSTANTIATE_TEST_SUITE_P(Family, OwnerSocketTest, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.param.name; });

TEST_P(OwnerSocketTest, AConnectionIsFoundInItsContainerAloneUntilItIsOver) {
    const EchoServer server(node(), GetParam().gateway);
    UniqueFd socket = connect(GetParam().gateway);
    const nk_socket_question connection = about(socket.get());
    EXPECT_TRUE(has(connection));
    nk_socket_question others = connection;
    others.netns_id = netns_id(db_);
    EXPECT_FALSE(has(others)) << "another container has none like it";
    others = connection;
    others.container_port = htons(1);
    EXPECT_FALSE(has(others));
    others = connection;
    others.remote_port = htons(1);
    EXPECT_FALSE(has(others));
    ::shutdown(socket.get(), SHUT_WR);
    socket = {};
    EXPECT_TRUE(eventually([&] { return !has(connection); })) << "TIME_WAIT is no connection";
}

TEST_P(OwnerSocketTest, OneThatIsOnlyBegunOrHalfClosedIsAConnection) {
    const Address silent = echo_at(GetParam().outside);  // nobody listens, and nobody says so
    outside().run(
        "nft add table inet x && nft add chain inet x i '{ type filter hook input priority 0; }' && "
        "nft add rule inet x i tcp dport 7 drop");
    const UniqueFd begun = socket_in(web_netns_, silent, SOCK_STREAM | SOCK_NONBLOCK);
    EXPECT_EQ(::connect(begun.get(), silent.get(), silent.size), -1);
    nk_socket_question question = about(begun.get());
    question.remote = end_of(silent.storage).address;
    question.remote_port = end_of(silent.storage).port;
    EXPECT_TRUE(has(question));
    const EchoServer server(node(), GetParam().gateway);
    const UniqueFd half_closed = connect(GetParam().gateway);
    ::shutdown(half_closed.get(), SHUT_RD);
    EXPECT_TRUE(has(about(half_closed.get())));
}

// Connected or not: what would get the answer.
TEST_P(OwnerSocketTest, ADatagramSocketIsFoundUntilItIsClosed) {
    const Address to = echo_at(GetParam().outside);
    UniqueFd socket = socket_in(web_netns_, to, SOCK_DGRAM);
    ASSERT_EQ(::connect(socket.get(), to.get(), to.size), 0) << std::strerror(errno);
    nk_socket_question question = about(socket.get());
    question.proto = IPPROTO_UDP;
    EXPECT_TRUE(has(question));
    nk_socket_question others = question;
    others.netns_id = netns_id(db_);
    EXPECT_FALSE(has(others));
    others = question;
    others.remote_port = htons(1);
    EXPECT_FALSE(has(others)) << "it is connected to another port";
    socket = {};
    EXPECT_FALSE(has(question));
    socket = socket_in(web_netns_, to, SOCK_DGRAM);
    ASSERT_EQ(::sendto(socket.get(), "x", 1, 0, to.get(), to.size), 1);
    question.container_port = about(socket.get()).container_port;
    EXPECT_TRUE(has(question)) << "one that sends to anybody";
}

TEST_P(OwnerSocketTest, AListenerIsNoConnection) {
    const EchoServer server(
        web_netns_, web_netns_.run(GetParam().name == "V4"
                                       ? "ip -j -4 addr show dev eth0 | jq -j .[0].addr_info[0].local"
                                       : "ip -j -6 addr show dev eth0 scope global | jq -j .[0].addr_info[0].local"));
    const EchoServer other(node(), GetParam().gateway);
    nk_socket_question question = about(connect(GetParam().gateway).get());
    question.container_port = htons(7);
    EXPECT_FALSE(has(question));
}

// A limit: such a flow lives as long as its silence says.
TEST_P(OwnerSocketTest, ASocketThatIsBoundToADeviceIsNotFound) {
    const EchoServer server(node(), GetParam().gateway);
    const UniqueFd socket = connect(GetParam().gateway, "eth0");
    EXPECT_FALSE(has(about(socket.get())));
}

TEST_P(OwnerSocketTest, ManyAreAnsweredEachInItsPlace) {
    const EchoServer server(node(), GetParam().gateway);
    const UniqueFd socket = connect(GetParam().gateway);
    nk_socket_question unknown = about(socket.get());
    unknown.container_port = htons(1);
    std::vector<nk_socket_question> questions(2 * NK_SOCKET_QUESTIONS + 5, unknown);
    const auto places =
        std::to_array<std::size_t>({0, NK_SOCKET_QUESTIONS - 1, NK_SOCKET_QUESTIONS, questions.size() - 1});
    for (const std::size_t place : places) {
        questions[place] = about(socket.get());
    }
    ASSERT_TRUE(datapath().ask_owner_sockets(questions));
    for (std::size_t i = 0; i < questions.size(); ++i) {
        EXPECT_EQ(questions[i].answer != 0, std::ranges::contains(places, i)) << i;
    }
}

// What blind resets, or forged FINs, leave in the table: a flow that seems to be over, of a connection that lives.
TEST_P(OwnerSocketTest, AFlowIsNotOverWhileItsSocketHasTheConnection) {
    const EchoServer server(outside(), GetParam().outside);
    UniqueFd socket = connect(GetParam().outside);
    nat::FlowTable table(datapath());
    ASSERT_TRUE(eventually([&] { return table.list(9)->flows.size() == 1; }));
    nat::FlowSweeper sweeper = sweeper_of_web();
    ASSERT_TRUE(sweeper.step({}));
    const auto walk_in = [&](std::chrono::hours time) {
        const auto now = monotonic_now() + time;
        const std::uint64_t before = sweeper.walks();
        while (sweeper.walks() == before) {
            ASSERT_TRUE(sweeper.step({}, now));
        }
    };
    walk_in(3h);
    EXPECT_EQ(table.list(9)->flows.size(), 1U) << "it was silent for longer than any lifetime";
    EXPECT_EQ(sweeper.removed(), 0U);
    const linger reset{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    socket = {};
    walk_in(6h);
    EXPECT_EQ(table.list(9)->flows.size(), 0U);
    EXPECT_EQ(sweeper.removed(), 1U);
}

// Where its socket can be asked, the flow of a connection that its other end has reset is over soon.
TEST_P(OwnerSocketTest, AResetOfTheOtherEndsEndsTheFlowWhoseSocketIsGone) {
    const Address address = echo_at(GetParam().outside);
    const UniqueFd listener = socket_bound_to(outside(), address, SOCK_STREAM);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    UniqueFd socket = connect(GetParam().outside);
    {
        const UniqueFd accepted(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        const linger reset{.l_onoff = 1, .l_linger = 0};
        ::setsockopt(accepted.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    }
    nat::FlowTable table(datapath());
    EXPECT_TRUE(eventually([&] {
        const auto flows = table.list(9)->flows;
        return flows.size() == 1 && flows.front().state == nat::FlowState::closed;
    }));
    nat::FlowSweeper sweeper = sweeper_of_web();
    EXPECT_EQ(flows_left_in(15s, sweeper), 0U);
}

// Its socket is not found, and anybody can send a reset with the remote's address and any sequence number: then the
// flow lives as long as one that is closed by half.
TEST_P(OwnerSocketTest, AForgedResetDoesNotEndTheFlowOfASocketThatIsBoundToADevice) {
    const EchoServer server(outside(), GetParam().outside);
    const UniqueFd socket = connect(GetParam().outside, "eth0");
    nat::FlowTable table(datapath());
    ASSERT_TRUE(eventually([&] { return table.list(9)->flows.size() == 1; }));
    const nat::Flow flow = table.list(9)->flows.front();
    send_raw(outside(),
             Packet().ip(GetParam().outside, flow.translated.to_string()).tcp(7, flow.translated_port).rst());
    ASSERT_TRUE(eventually([&] { return table.list(9)->flows.front().state == nat::FlowState::half_closed; }));
    nat::FlowSweeper sweeper = sweeper_of_web();
    ASSERT_TRUE(sweeper.step({}));
    EXPECT_EQ(flows_left_in(2min, sweeper), 1U);
    EXPECT_EQ(flows_left_in(10min, sweeper), 0U);
}

}  // namespace
}  // namespace netkitd::test
