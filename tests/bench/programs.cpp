// bpf-programs: runs each program on one packet at a time by BPF_PROG_TEST_RUN and prints what it takes, a line for
// each situation: "programs/PROGRAM: SITUATION", "ns", value; and for each program its size in BPF instructions. In a
// VM whose clock counts instructions, a nanosecond is an instruction, of the program and of all that it calls.
//
// A program that rewrites a packet can't be run on it twice, so each run is one packet and the mean is shown, less that
// of the shortest program on a packet that is none of its business: the cost of measuring.
#include <cstdio>
#include <format>
#include <functional>
#include <numeric>

#include "bpf/packets.h"
#include "harness/netns.h"
#include "harness/prog_run.h"

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
    // Before each run.
    std::function<Result<void>(const TestNode&)> prepare = [](const TestNode&) { return Result<void>{}; };
};

Result<void> established(const TestNode& node) {
    return node.insert(Stage::established, Flow{});
}

Result<void> no_flows(const TestNode& node) {
    node.reset({});
    return {};
}

Packet data(Packet packet) {
    return packet.ack().payload(1000);
}

Situation nothing() {
    return {Program::uplink_egress, "not IP", "eth0", Packet().eth(kRouterMac, kUplinkMac).arp(), Verdict::pass};
}

std::vector<Situation> situations() {
    const Packet out = data(Packet().ipv4("10.77.0.2", "198.51.100.1").tcp(50000, 443));
    const Packet to_container = data(Packet().ipv4("10.77.0.2", "10.77.0.3").tcp(50000, 443));
    const Packet routed = data(Packet().ipv4("10.88.0.2", "198.51.100.1").tcp(50000, 443));
    const Packet forged = data(Packet().ipv4("10.77.0.9", "198.51.100.1").tcp(50000, 443));
    const Packet in = data(Packet().eth(kUplinkMac, kRouterMac).ipv4("198.51.100.1", "203.0.113.2").tcp(443, 50000));
    const Packet to_host = data(Packet().eth(kUplinkMac, kRouterMac).ipv4("198.51.100.1", "203.0.113.2").tcp(443, 80));
    const Packet unasked = data(Packet().eth(kUplinkMac, kRouterMac).ipv4("198.51.100.1", "10.77.0.2").tcp(443, 80));
    const Packet of_host = data(Packet().eth(kRouterMac, kUplinkMac).ipv4("203.0.113.2", "198.51.100.1").tcp(80, 443));
    return {
        {Program::netkit_peer, "established flow, masqueraded", "nkweb", out, Verdict::redirect, established},
        {Program::netkit_peer, "new flow, masqueraded", "nkweb", from_web(), Verdict::redirect, no_flows},
        {Program::netkit_peer, "routed network", "nkrouted", routed, Verdict::redirect},
        {Program::netkit_peer, "to another container", "nkweb", to_container, Verdict::redirect},
        {Program::netkit_peer, "forged source", "nkweb", forged, Verdict::drop},
        {Program::veth_ingress, "established flow, masqueraded", "nkweb", out, Verdict::redirect, established},
        {Program::uplink_ingress, "reply of an established flow", "eth0", in, Verdict::redirect, established},
        {Program::uplink_ingress, "to the host", "eth0", to_host, Verdict::pass},
        {Program::uplink_ingress, "to the host, port of the pool", "eth0", in, Verdict::pass, no_flows},
        {Program::uplink_ingress, "to a container, not asked for", "eth0", unasked, Verdict::drop},
        {Program::uplink_egress, "of the host", "eth0", of_host, Verdict::pass},
    };
}

Result<double> mean_ns(const TestNode& node, const Situation& situation) {
    double sum = 0;
    for (int i = -kWarmUp; i < kRuns; i++) {
        NK_TRY(situation.prepare(node));
        const RunResult result = NK_TRY(node.run(situation.program, situation.device, situation.packet));
        if (result.verdict != situation.verdict) {
            return fail(ErrorKind::internal, "{}: {}: another verdict", to_string(situation.program), situation.name);
        }
        sum += i < 0 ? 0 : static_cast<double>(result.took.count());
    }
    return sum / kRuns;
}

void print(std::string_view row, std::string_view what, double value) {
    std::puts(std::format("programs/{}\t{}\t{:.1f}", row, what, value).c_str());
}

Result<void> measure() {
    const NetworkNamespace home;
    Result<void> done;
    home.inside([&] {
        done = [&]() -> Result<void> {
            const TestNode node = NK_TRY(TestNode::create(home, {}));
            for (const auto program :
                 {Program::netkit_peer, Program::veth_ingress, Program::uplink_ingress, Program::uplink_egress}) {
                print(to_string(program), "BPF instructions", NK_TRY(node.instruction_count(program)));
            }
            const double measuring = NK_TRY(mean_ns(node, nothing()));
            for (const Situation& situation : situations()) {
                node.reset({});
                print(std::format("{}: {}", to_string(situation.program), situation.name), "ns",
                      NK_TRY(mean_ns(node, situation)) - measuring);
            }
            return {};
        }();
    });
    return done;
}

}  // namespace
}  // namespace netkitd::test

int main() {
    const auto done = netkitd::test::measure();
    if (!done) {
        std::fprintf(stderr, "bpf-programs: %s\n", done.error().message().c_str());
        return 1;
    }
    return 0;
}
