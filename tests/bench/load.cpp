// bpf-load: the flow table under load, by BPF_PROG_TEST_RUN on one CPU of this machine's own kernel; for each family
// lines "load/FAMILY", name, value, tabs between:
//
//   flows                    that are there at once
//   out ns, in ns            a packet of one of them, taken at random, the programs' time alone
//   new flows/s              what one CPU can begin: SYN out, SYN and ACK in, by the programs' time
//   refused/s, flood         SYNs that nobody answers, when their sender has all that it gets
//   ended flows/s            that begin and end while the daemon's sweep runs on the same CPU; 50,000 at most
//   sweep %                  the part of the CPU that it takes then
//   sweep ns                 the same for each flow that it forgot
//   table MiB                of kernel memory
#include <net/if.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <numeric>
#include <random>
#include <sstream>

#include "base/format.h"
#include "bench/measured.h"
#include "bpf/packets.h"
#include "harness/daemon_view.h"
#include "nat/flow_sweeper.h"

namespace netkitd::test {
namespace {

using Nanoseconds = std::chrono::duration<double, std::nano>;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr std::size_t kFlows = 100'000;
constexpr std::size_t kFlowsToARemote = 10'000;
constexpr TestNode::Options kOptions{.flow_entries = 1'048'576};

// Of this thread: what others do meanwhile does not count.
Milliseconds cpu_time() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

class Load {
public:
    Load(const TestNode& node, const Net& net)
        : node_(node), net_(net), container_(if_nametoindex("nkweb")), uplink_(if_nametoindex("eth0")) {}

    Result<void> measure() {
        std::vector<std::size_t> numbers(kFlows);
        std::iota(numbers.begin(), numbers.end(), 0);
        Nanoseconds begun{};
        for (const std::size_t number : numbers) {
            begun += NK_TRY(begin(number));
        }
        print("flows", kFlows);
        print("new flows/s", kFlows / (begun.count() / 1e9));

        std::ranges::shuffle(numbers, std::mt19937(1));
        Nanoseconds out{};
        Nanoseconds in{};
        for (const std::size_t number : numbers) {
            out += NK_TRY(run(Program::veth_ingress, packet_out(number).ack().payload(1000)));
            in += NK_TRY(run(Program::uplink_ingress, packet_in(number).ack().payload(1000)));
        }
        print("out ns", out.count() / kFlows);
        print("in ns", in.count() / kFlows);
        return measure_sweep();
    }

    Result<void> measure_flood() {
        constexpr std::size_t kFull = 200'000;
        Nanoseconds took{};
        for (std::size_t number = 0; number < 2 * kFull; number++) {
            const Bytes frame = packet_out(kFlows + 850'000 + number).syn().bytes();
            const auto ran = NK_TRY(node_.run_frame(Program::veth_ingress, container_, frame, seen_));
            took += number < kFull ? std::chrono::nanoseconds() : ran.took;
        }
        print("refused/s, flood", kFull / (took.count() / 1e9));
        return {};
    }

private:
    void print(std::string_view name, double value) const {
        std::puts(formatted("load/IP{}\t{}\t{:.2f}", net_.name, name, value).c_str());
    }

    // The daemon's sweep beside flows that are over as soon as they have begun, 50,000 a second.
    Result<void> measure_sweep() {
        using Clock = std::chrono::steady_clock;
        constexpr std::size_t kShort = 750'000;
        constexpr std::chrono::microseconds kInterval{20};
        const DaemonView view = NK_TRY(DaemonView::open(node_));
        nat::FlowSweeper sweeper(view.datapath());
        Milliseconds took{};
        const auto start = Clock::now();
        auto next_step = start;
        for (std::size_t number = 0; number < kShort; number++) {
            (void)NK_TRY(begin(kFlows + number));
            (void)NK_TRY(run(Program::veth_ingress, packet_out(kFlows + number).ack().fin()));
            (void)NK_TRY(run(Program::uplink_ingress, packet_in(kFlows + number).ack().fin()));
            do {
                if (Clock::now() >= next_step) {
                    const Milliseconds begin = cpu_time();
                    next_step = Clock::now() + NK_TRY(sweeper.step({}));
                    took += cpu_time() - begin;
                }
            } while (Clock::now() < start + number * kInterval);
        }
        const Milliseconds elapsed = Clock::now() - start;
        print("ended flows/s", kShort / (elapsed.count() / 1e3));
        print("sweep %", 100 * (took / elapsed));
        print("sweep ns", Nanoseconds(took).count() / static_cast<double>(sweeper.removed()));
        print("table MiB", NK_TRY(table_bytes()) / (1 << 20));
        return {};
    }

    // proc_pid_fdinfo(5): "memlock:	1234"
    [[nodiscard]] Result<double> table_bytes() const {
        std::ifstream file(formatted("/proc/self/fdinfo/{}", node_.flow_map(v6())));
        std::string name;
        double bytes = 0;
        for (std::string line; std::getline(file, line);) {
            std::istringstream(line) >> name >> bytes;
            if (name == "memlock:") {
                return bytes;
            }
        }
        return fail(ErrorKind::internal, "the kernel does not say what a map takes");
    }

    [[nodiscard]] bool v6() const { return net_.name == "V6"; }
    [[nodiscard]] static std::uint16_t port(std::size_t number) {
        return static_cast<std::uint16_t>(49152 + number % kFlowsToARemote);
    }
    [[nodiscard]] std::string remote(std::size_t number) const {
        return formatted("{}{}", v6() ? "2001:db8:51::" : "198.51.100.", 1 + number / kFlowsToARemote);
    }
    [[nodiscard]] Packet packet_out(std::size_t number) const {
        return Packet().ip(net_.web, remote(number)).tcp(port(number), 443);
    }
    [[nodiscard]] Packet packet_in(std::size_t number) const {
        return Packet().eth(kUplinkMac, kRouterMac).ip(remote(number), net_.node).tcp(443, port(number));
    }

    Result<Nanoseconds> begin(std::size_t number) {
        const Nanoseconds syn = NK_TRY(run(Program::veth_ingress, packet_out(number).syn()));
        return syn + NK_TRY(run(Program::uplink_ingress, packet_in(number).syn().ack()));
    }
    Result<Nanoseconds> run(Program program, const Packet& packet) {
        const bool out = program == Program::veth_ingress;
        const auto ran = NK_TRY(node_.run_frame(program, out ? container_ : uplink_, packet.bytes(), seen_));
        if (ran.verdict != Verdict::redirect) {
            return fail(ErrorKind::internal, "a packet did not get through:\n{}", describe(packet.bytes()));
        }
        return Nanoseconds(ran.took);
    }

    const TestNode& node_;
    const Net& net_;
    std::uint32_t container_;
    std::uint32_t uplink_;
    Bytes seen_;
};

Result<void> measure(const TestNode& node) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    sched_setaffinity(0, sizeof(set), &set);
    for (const Net* net : {&ipv4(), &ipv6()}) {
        Load load(node, *net);
        NK_TRY(load.measure());
        NK_TRY(load.measure_flood());
    }
    return {};
}

}  // namespace
}  // namespace netkitd::test

int main() {
    using namespace netkitd::test;
    return measured("bpf-load", kOptions, measure);
}
