// What programs of this host send to the host's own addresses, at the loopback device: 8053 of UDP and 3868 of SCTP are
// published by web. (What is answered: host_client_test.cpp.)
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <string>

#include "bpf/packets.h"
#include "bpf/verdict_table.h"

namespace netkitd::test {
namespace {

constexpr std::uint16_t kPort = 8053;
constexpr std::uint16_t kContainerPort = 53;
constexpr std::uint16_t kSctpPort = 3868;

// What was published at the node's address and at loopback addresses.
void publish(const Net& net, TestNode& node) {
    ASSERT_TRUE(node.publish(frontend_of_web(net, IPPROTO_UDP, kPort, kContainerPort)));
    ASSERT_TRUE(node.publish(frontend_of_web(net, IPPROTO_TCP, kPort, kContainerPort)));
    ASSERT_TRUE(node.publish(frontend_of_web(net, IPPROTO_SCTP, kSctpPort, kSctpPort)));
}

VerdictCase row(const Net& net, std::string name, Verdict verdict, Packet packet) {
    VerdictCase row;
    row.name = std::move(name);
    row.device = "lo";
    row.packet = std::move(packet);
    row.verdict = verdict;
    row.prepare = [&net](TestNode& node) { publish(net, node); };
    return row;
}

VerdictCase left_alone(const Net& net, std::string name, Packet packet) {
    return row(net, std::move(name), Verdict::pass, std::move(packet));
}

// `steps`: how many are taken off its TTL.
VerdictCase goes(const Net& net, std::string name, const Packet& packet, Packet becomes, std::uint8_t steps = 1) {
    VerdictCase result = row(net, std::move(name), Verdict::redirect, packet);
    result.becomes = becomes.eth(kContainerMac, kHostEndMac).ttl(64 - steps);
    result.counted = {{"flow-arrived", 1}};
    return result;
}

VerdictCase on_a_small_device(VerdictCase row) {
    row.verdict = Verdict::drop;
    row.becomes->eth({}, {});
    row.counted["too-big"] = 1;
    return row;
}

VerdictCase goes_to_veth_by_sctp(const Net& net, const Packet& packet) {
    VerdictCase result = left_alone(net, "SctpToADeviceOfVeths", packet);
    result.counted = {{"flow-arrived", 1}};
    return result;
}

// To another container, which has netkit.
VerdictCase sctp_to_netkit(const Net& net) {
    constexpr std::uint16_t kPortOfNetkit = 3869;
    const std::string in_netkit = net.is_ipv6() ? "2001:db8:77::50" : "10.77.0.50";
    const Packet sent = Packet().ip(net.node, net.node).sctp(40000, kPortOfNetkit, 1);
    VerdictCase result = goes(net, "Sctp", sent, Packet(sent).to(in_netkit, kPortOfNetkit));
    result.becomes->eth({}, {});
    result.prepare = [&net, in_netkit](TestNode& node) {
        ASSERT_TRUE(node.add_endpoint(in_netkit, "nkweb", 9, NK_DEVICE_NETKIT));
        datapath::Frontend frontend = frontend_of_web(net, IPPROTO_SCTP, kPortOfNetkit, kPortOfNetkit);
        frontend.container = IpAddr::parse(in_netkit).value();
        frontend.endpoint_id = 9;
        ASSERT_TRUE(node.publish(frontend));
    };
    return result;
}

std::vector<VerdictCase> of_host(const Net& net) {
    const std::string loopback = net.is_ipv6() ? "::1" : "127.0.0.1";
    const auto asks = [&](const std::string& from, const std::string& to) {
        return Packet().ip(from, to).udp(40000, kPort);
    };
    const Packet by_node = asks(net.node, net.node);
    const Packet sctp = Packet().ip(net.node, net.node).sctp(40000, kSctpPort, 1);
    return {
        goes(net, "ByItsAddress", by_node, Packet(by_node).to(net.web, kContainerPort)),
        goes(net, "ByLoopback", asks(loopback, loopback), asks(net.gateway, net.web).to(net.web, kContainerPort), 2),
        goes(net, "FromLoopbackToItsAddress", asks(loopback, net.node),
             asks(net.gateway, net.web).to(net.web, kContainerPort), 2),
        goes(net, "ToLoopbackFromItsAddress", asks(net.node, loopback),
             asks(net.node, net.web).to(net.web, kContainerPort)),
        sctp_to_netkit(net),
        // Which would go on to send what does not fit.
        goes_to_veth_by_sctp(net, sctp),
        left_alone(net, "AConnection", Packet().ip(net.node, net.node).tcp(40000, kPort).syn()),
        left_alone(net, "AnotherPort", Packet().ip(net.node, net.node).udp(40000, kPort + 1)),
        left_alone(net, "AnotherAddress", asks(net.node, net.is_ipv6() ? "2001:db8:113::77" : "203.0.113.77")),
        left_alone(net, "WithOneStepLeft", Packet(by_node).ttl(1)),
        left_alone(net, "InFragments",
                   Packet().ip(net.node, net.node).identification(7).fragment(0, true).udp(40000, kPort).payload(8)),
        left_alone(net, "FromAGateway", asks(net.gateway, net.node)),
        left_alone(net, "FromAnAddressThatIsNotTheHosts", asks(net.remote, net.node)),
        left_alone(net, "AnError",
                   Packet()
                       .ip(net.node, net.node)
                       .icmp(net.is_ipv6() ? 1 : 3, net.is_ipv6() ? 4 : 3)
                       .quoting(Packet().ip(net.node, net.node).udp(kPort, 40000))),
        left_alone(net, "Ping", Packet().ip(net.node, net.node).echo_request(7)),
        left_alone(net, "NoIp", Packet().arp()),
        on_a_small_device(goes(net, "MoreThanADeviceOfVethsTakes", Packet(by_node).payload(3000),
                               Packet(by_node).to(net.web, kContainerPort).payload(3000))),
    };
}

}  // namespace

std::vector<VerdictTable> loopback_tables() {
    return {{Program::loopback_egress, "OfHost", of_host(ipv4()), ipv4().name},
            {Program::loopback_egress, "OfHost", of_host(ipv6()), ipv6().name}};
}

}  // namespace netkitd::test
