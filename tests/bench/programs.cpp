// bpf-programs: runs each program on one packet at a time by BPF_PROG_TEST_RUN and prints what it takes, a line for
// each situation: "programs/PROGRAM: SITUATION", "ns", value; and for each program its size in BPF instructions. In a
// VM whose clock counts instructions, a nanosecond is an instruction, of the program and of all that it calls.
//
// A program that rewrites a packet can't be run on it twice, so each run is one packet and the mean is shown, less that
// of the shortest program on a packet that is none of its business: the cost of measuring.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <iterator>
#include <numeric>

#include "base/format.h"
#include "bench/measured.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

constexpr int kRuns = 300;
constexpr int kWarmUp = 20;

struct Situation {
    Program program{};
    std::string name;
    std::string device;
    Packet packet;
    Verdict verdict{};
    // Before the first run, and before each; may be empty.
    std::function<Result<void>(const TestNode&)> begin{};
    std::function<Result<void>(const TestNode&)> prepare{};
    bool routed_network = false;  // the node has one beside the masqueraded
};

Packet data(Packet packet) {
    return packet.ack().payload(1000);
}

Situation nothing() {
    return {Program::uplink_egress, "not IP", "eth0", Packet().eth(kRouterMac, kUplinkMac).arp(), Verdict::pass};
}

// As after the start with the default configuration, or with a routed network too.
void reset(const TestNode& node, bool routed_network) {
    node.reset({});
    if (!routed_network) {
        node.settings().network4_count = node.settings().network6_count = 1;
        node.settings().routed4_count = node.settings().routed6_count = 0;
    }
}

// All ports towards the remote are others'.
Result<void> take_all_ports(const Net& net, const TestNode& node) {
    for (std::uint32_t port = node.settings().port_first; port <= node.settings().port_last; port++) {
        NK_TRY(node.insert(Stage::established, NK_FLOW_REVERSE,
                           {.source = net.db,
                            .destination = net.remote,
                            .translated = net.node,
                            .translated_port = static_cast<std::uint16_t>(port),
                            .endpoint_id = 2}));
    }
    return {};
}

// Web's port 80, by 8080.
Result<void> publish(const Net& net, const TestNode& node) {
    return node.publish({.address = std::nullopt,
                         .port = 8080,
                         .protocol = IPPROTO_TCP,
                         .container = NK_TRY(IpAddr::parse(net.web)),
                         .container_port = 80,
                         .endpoint_id = 1});
}

// A client's connection to a published port, as it begins.
std::vector<Situation> arrivals(const Net& net) {
    const Packet syn = to_node(net).tcp(50000, 8080).syn();
    const Packet answer = Packet().ip(net.web, net.remote).tcp(80, 50000).syn().ack();
    const auto published = [&net](const TestNode& node) { return publish(net, node); };
    const auto arrived = [&net, syn](const TestNode& node) -> Result<void> {
        NK_TRY(publish(net, node));
        (void)NK_TRY(node.run(Program::uplink_ingress, "eth0", syn));
        return {};
    };
    const auto no_such_flow = [&net](const TestNode& node) -> Result<void> {
        (void)NK_TRY(node.forget({.source = net.web,
                                  .source_port = 80,
                                  .destination = net.remote,
                                  .destination_port = 50000,
                                  .translated = net.node,
                                  .translated_port = 8080}));
        return {};
    };
    using enum Program;
    return {
        {uplink_ingress, "begins, to a published port", "eth0", syn, Verdict::redirect, published, no_such_flow},
        {netkit_peer, "the answer to that", "nkweb", answer, Verdict::redirect, arrived},
    };
}

std::vector<Situation> situations(const Net& net) {
    const auto established = [&net](const TestNode& node) {
        return node.insert(Stage::established, {.source = net.web, .destination = net.remote, .translated = net.node});
    };
    const auto no_flows = [](const TestNode& node) -> Result<void> {
        reset(node, false);
        return {};
    };
    // What was learned of the route stays.
    const auto no_such_flow = [&net](const TestNode& node) -> Result<void> {
        (void)NK_TRY(node.forget({.source = net.web, .destination = net.remote, .translated = net.node}));
        return {};
    };
    const auto no_port = [&net](const TestNode& node) { return take_all_ports(net, node); };
    const auto no_share = [](const TestNode& node) -> Result<void> {
        node.settings().flow_share4 = node.settings().flow_share6 = 0;
        node.settings().flow_common4 = node.settings().flow_common6 = 0;
        return {};
    };
    const Packet out = data(Packet().ip(net.web, net.remote).tcp(50000, 443));
    const Packet to_container = data(Packet().ip(net.web, net.db).tcp(50000, 443));
    const Packet routed = data(Packet().ip(net.routed, net.remote).tcp(50000, 443));
    const Packet forged = data(Packet().ip(net.nobody, net.remote).tcp(50000, 443));
    const Packet in = data(to_node(net).tcp(443, 50000));
    const Packet to_host = data(to_node(net).tcp(443, 80));
    const Packet unasked = data(Packet().eth(kUplinkMac, kRouterMac).ip(net.remote, net.web).tcp(443, 80));
    const Packet to_routed = data(Packet().eth(kUplinkMac, kRouterMac).ip(net.remote, net.routed).tcp(443, 50000));
    const Packet of_host = data(Packet().eth(kRouterMac, kUplinkMac).ip(net.node, net.remote).tcp(80, 443));
    const Packet host_flow = data(Packet().eth(kRouterMac, kUplinkMac).ip(net.node, net.remote).tcp(50000, 443));
    using enum Program;
    return {
        {netkit_peer, "established flow", "nkweb", out, Verdict::redirect, established},
        {netkit_peer, "established flow, long way", "nkweb", out, Verdict::redirect, {}, established},
        {netkit_peer, "new flow", "nkweb", from_web(net), Verdict::redirect, {}, no_such_flow},
        {netkit_peer, "new flow, first to its address", "nkweb", from_web(net), Verdict::redirect, {}, no_flows},
        {netkit_peer, "refused: no port", "nkweb", from_web(net), Verdict::drop, no_port},
        {netkit_peer, "refused: no share", "nkweb", from_web(net), Verdict::drop, no_share},
        {netkit_peer, "routed network", "nkrouted", routed, Verdict::redirect, {}, {}, true},
        {netkit_peer, "to another container", "nkweb", to_container, Verdict::redirect},
        {netkit_peer, "forged source", "nkweb", forged, Verdict::drop},
        {veth_ingress, "established flow", "nkweb", out, Verdict::redirect, established},
        {uplink_ingress, "reply of an established flow", "eth0", in, Verdict::redirect, established},
        {uplink_ingress, "the same, long way", "eth0", in, Verdict::redirect, {}, established},
        {uplink_ingress, "to the host", "eth0", to_host, Verdict::pass},
        {uplink_ingress, "to the host, port of the pool", "eth0", in, Verdict::pass, {}, no_flows},
        {uplink_ingress, "to a container, not asked for", "eth0", unasked, Verdict::drop},
        {uplink_ingress, "to a container of a routed network", "eth0", to_routed, Verdict::redirect, {}, {}, true},
        {uplink_egress, "of the host", "eth0", of_host, Verdict::pass},
        {uplink_egress, "of the host, from a port of the pool", "eth0", host_flow, Verdict::pass},
        {uplink_egress, "the same, a new flow", "eth0", host_flow, Verdict::pass, {}, no_flows},
    };
}

Result<double> mean_ns(const TestNode& node, const Situation& situation) {
    double sum = 0;
    if (situation.begin) {
        NK_TRY(situation.begin(node));
    }
    for (int i = -kWarmUp; i < kRuns; i++) {
        if (situation.prepare) {
            NK_TRY(situation.prepare(node));
        }
        const RunResult result = NK_TRY(node.run(situation.program, situation.device, situation.packet));
        if (result.verdict != situation.verdict) {
            return fail(ErrorKind::internal, "{}: {}: another verdict", to_string(situation.program), situation.name);
        }
        sum += i < 0 ? 0 : static_cast<double>(result.took.count());
    }
    return sum / kRuns;
}

void print(std::string_view row, std::string_view what, double value) {
    std::puts(formatted("programs/{}\t{}\t{:.1f}", row, what, value).c_str());
}

Result<void> measure(const TestNode& node) {
    for (const auto program :
         {Program::netkit_peer, Program::veth_ingress, Program::uplink_ingress, Program::uplink_egress}) {
        print(to_string(program), "BPF instructions", NK_TRY(node.size_of(program)).instructions);
    }
    const double measuring = NK_TRY(mean_ns(node, nothing()));
    for (const Net* net : {&ipv4(), &ipv6()}) {
        std::vector<Situation> all = situations(*net);
        std::ranges::move(arrivals(*net), std::back_inserter(all));
        for (const Situation& situation : all) {
            reset(node, situation.routed_network);
            print(formatted("{}: {}, {}", to_string(situation.program), situation.name, net->name), "ns",
                  NK_TRY(mean_ns(node, situation)) - measuring);
        }
    }
    return {};
}

}  // namespace
}  // namespace netkitd::test

int main() {
    using namespace netkitd::test;
    return measured("bpf-programs", {.flow_entries = 65536, .netkit_peer = true}, measure);
}
