// Random packets and conversations, a million of them, through the programs and through a plain model of what they are
// to do (nat_model.h): whatever goes out comes out translated, what comes back comes back to who asked for it, and
// every byte of it is right.
//
// Every run says its seed. NETKITD_SEED=N repeats one, NETKITD_PACKETS=N makes it longer or shorter, NETKITD_SHORT=1
// short. A failure is shown with the fewest steps that were found to lead to it, all their packets printed. (Which free
// port a new conversation gets is the kernel's choice each time, so that a rare one may not come again.)
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>

#include <array>
#include <bit>
#include <format>
#include <functional>
#include <sstream>

#include "bpf/bpf_test.h"
#include "bpf/nat_errors.h"
#include "bpf/nat_fragments.h"
#include "bpf/nat_model.h"
#include "bpf/nat_packets.h"
#include "bpf/nat_world.h"
#include "bpf/packets.h"
#include "link/sysctl.h"

namespace netkitd::test {
namespace {

// Each container has one of its own, and whoever gets its address later another one. Both ends of a veth serve.
constexpr std::size_t kDevices = 32;

class NatPropertyTest : public BpfTest {
protected:
    NatPropertyTest() { options.established_flows = options.fresh_flows = 65536; }

    void SetUp() override {
        BpfTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) {
            return;
        }
        pin_to_cpu(0);
        eth0_ = if_nametoindex("eth0");
        make_devices();
        RunOptions complete{.checksum_complete = true};
        sums_whole_packets_ =
            node().run(Program::uplink_ingress, "eth0", to_node(ipv4()).udp(1, 1), complete).has_value();
    }

    void make_devices() {
        std::string commands;
        for (std::size_t i = 0; i < kDevices; i += 2) {
            commands += std::format(
                "link add nk{0} numtxqueues 1 numrxqueues 1 type veth peer name nk{1} numtxqueues 1 numrxqueues 1\n"
                "link set nk{0} up\nlink set nk{1} up\n",
                i, i + 1);
        }
        NetnsTest::node().run(std::format("ip -batch - <<'EOF'\n{}EOF", commands));
        for (std::size_t i = 0; i < kDevices; i++) {
            devices_.push_back(std::format("nk{}", i));
            for (const char* family : {"ipv4", "ipv6"}) {
                ASSERT_TRUE(link::write_sysctl(std::format("{}/conf/nk{}/forwarding", family, i), "1"));
            }
        }
    }

    // Some are run as from a device that sums whole packets.
    [[nodiscard]] RunOptions random_options(Random& random) const {
        return {.checksum_complete = sums_whole_packets_ && random.percent(40)};
    }

    struct Failure {
        std::size_t step = 0;
        std::string what;
    };
    // From an empty node on; what is wrong with the first step that is. `trace` gets all packets as text.
    std::optional<Failure> play(const World& world, std::string* trace);
    // The fewest steps that were found to lead to it.
    World shrink(World world, Failure failure);
    void play_until(std::uint64_t packets, bool forgets_unanswered);
    // That what the test is about did happen: by the programs' counters, and as a share of the packets that came out
    // translated.
    void expect_shares(std::initializer_list<std::pair<const char*, double>> percents);
    void expect_counted(std::initializer_list<const char*> names) {
        const auto counted = node().counted();
        for (const char* name : names) {
            EXPECT_TRUE(counted.contains(name)) << name;
        }
    }

private:
    std::string take(const World& world, const Step& step, NatModel& model, std::string* trace);
    std::string send(const Conversation& c, std::uint64_t seed, NatModel& model, std::string* trace);
    std::string receive(const Conversation& c, std::uint16_t port, std::uint64_t seed, NatModel& model,
                        std::string* trace);
    void forget(const Conversation& c, NatModel& model);
    void replace(std::size_t container, NatModel& model);
    std::string send_fragment(Conversation c, const Step& step, NatModel& model, std::string* trace);
    std::string receive_fragment(Conversation c, std::uint16_t port, const Step& step, NatModel& model,
                                 std::string* trace);
    std::string complain(const Conversation& c, std::uint64_t seed, NatModel& model, std::string* trace);
    std::string complain_to(const Conversation& c, std::uint16_t port, std::uint64_t seed, NatModel& model,
                            std::string* trace);
    struct Way {
        Program program{};
        std::uint32_t ifindex = 0;
        std::string kind;  // of the packet
    };
    [[nodiscard]] Way way_out(const Conversation& c, std::string kind) const;
    [[nodiscard]] Way way_in(std::string kind) const;
    Result<Seen> run(const Way& way, const Sent& sent, Random& random);
    // What `judge_seen` says of what became of it.
    std::string judge(const Way& way, const Sent& sent, Random& random, std::string* trace,
                      const std::function<std::string(const Seen&)>& judge_seen);
    // If it is there for sure.
    static std::optional<Flow> flow_of(const Conversation& c, const NatModel& model);
    // All that the maps have of it.
    Bytes halves_of(const Conversation& c, const NatModel& model);
    std::string check_table(const NatModel& model);
    std::string check_entry(const NatModel& model, const nk_flow6_key& key, const nk_flow& value);

    std::uint32_t eth0_ = 0;
    std::vector<std::string> devices_;
    std::size_t used_devices_ = 0;
    bool sums_whole_packets_ = false;
    Bytes seen_;
    std::map<std::string, std::uint64_t> counted_;
    std::map<std::string, std::uint64_t> translated_;  // packets, by kind
    struct Place {
        std::uint32_t ifindex = 0;
        std::uint32_t id = 0;  // of the endpoint
    };
    std::array<Place, kContainers> places_{};
    std::uint32_t next_id_ = 100;
};

void note(std::string* trace, const std::string& what, std::span<const std::uint8_t> frame = {}) {
    if (trace != nullptr) {
        *trace += what + "\n" + (frame.empty() ? "" : describe(frame));
    }
}

void note(std::string* trace, const Conversation& c, const char* what) {
    if (trace != nullptr) {
        note(trace, std::format("{} {}", to_string(c), what));
    }
}

void note(std::string* trace, const Seen& seen) {
    std::ostringstream verdict;
    verdict << seen.verdict;
    note(trace, std::format("  {} {}", verdict.str(), seen.drop), seen.frame);
}

template <typename Use>
void for_each_half(Use use) {
    for (const Stage stage : {Stage::fresh, Stage::established}) {
        for (const auto direction : {NK_FLOW_FORWARD, NK_FLOW_REVERSE}) {
            use(stage, direction);
        }
    }
}

bool is_of_an_error(Random& random, const Step& step) {
    return random.percent(5) && step.pieces > 1;
}

// ICMP errors in fragments are not translated. `c`: becomes one with whoever the error is from, or goes to.
Sent to_be_cut(SentError error, Conversation& c) {
    c.remote = error.other_end;
    error.sent.untranslatable = "fragment";
    return error.sent;
}

std::string kind_of(const Sent& sent) {
    return sent.protocol == IPPROTO_SCTP ? "sctp" : "other";
}

void NatPropertyTest::expect_shares(std::initializer_list<std::pair<const char*, double>> percents) {
    std::uint64_t all = 0;
    for (const auto& [kind, packets] : translated_) {
        all += packets;
    }
    for (const auto& [kind, least] : percents) {
        const double percent = 100.0 * static_cast<double>(translated_[kind]) / static_cast<double>(all);
        std::printf("[ share  ] %s: %.1f %% of %lu\n", kind, percent, all);
        EXPECT_GE(percent, least) << kind;
    }
}

Result<Seen> NatPropertyTest::run(const Way& way, const Sent& sent, Random& random) {
    const auto ran = NK_TRY(node().run_frame(way.program, way.ifindex, sent.frame(), seen_, random_options(random)));
    Seen seen{.verdict = ran.verdict, .frame = seen_};
    if (ran.verdict == Verdict::drop) {
        const auto before = std::exchange(counted_, node().counted());
        for (const auto& [name, is_drop] : counter_names()) {
            const auto was = before.find(name);
            if (is_drop && counted_.contains(name) && counted_[name] != (was == before.end() ? 0 : was->second)) {
                seen.drop += seen.drop.empty() ? name : " and " + name;
            }
        }
    }
    return seen;
}

std::string NatPropertyTest::judge(const Way& way, const Sent& sent, Random& random, std::string* trace,
                                   const std::function<std::string(const Seen&)>& judge_seen) {
    const auto seen = run(way, sent, random);
    if (!seen) {
        return seen.error().message();
    }
    translated_[way.kind] += std::uint64_t{seen->verdict == Verdict::redirect};
    if (trace != nullptr) {
        note(trace, "  of " + way.kind, sent.frame());
        note(trace, *seen);
    }
    return judge_seen(*seen);
}

NatPropertyTest::Way NatPropertyTest::way_out(const Conversation& c, std::string kind) const {
    return {.program = Program::veth_ingress, .ifindex = places_.at(container_of(c)).ifindex, .kind = std::move(kind)};
}

NatPropertyTest::Way NatPropertyTest::way_in(std::string kind) const {
    return {.program = Program::uplink_ingress, .ifindex = eth0_, .kind = std::move(kind)};
}

std::string NatPropertyTest::send(const Conversation& c, std::uint64_t seed, NatModel& model, std::string* trace) {
    Random random(seed);
    const Net& net = c.is_ipv6() ? ipv6() : ipv4();
    const NatModel::State* known = model.find(c);
    const std::uint16_t likely_port = known != nullptr ? known->port : c.port;
    const Sent sent = packet_out(random, c, [&](const Packet& p) { return Packet(p).from(net.node, likely_port); });
    note(trace, c, "sends");
    return judge(way_out(c, kind_of(sent)), sent, random, trace,
                 [&](const Seen& seen) { return model.out(c, sent, seen); });
}

std::string NatPropertyTest::receive(const Conversation& c, std::uint16_t port, std::uint64_t seed, NatModel& model,
                                     std::string* trace) {
    Random random(seed);
    const Sent sent = packet_in(random, c, port);
    note(trace, c, "is answered, or somebody else");
    return judge(way_in(kind_of(sent)), sent, random, trace,
                 [&](const Seen& seen) { return model.in(c, port, sent, seen); });
}

std::string NatPropertyTest::send_fragment(Conversation c, const Step& step, NatModel& model, std::string* trace) {
    Random random(step.seed);
    const bool is_error = is_of_an_error(random, step);
    const Sent sent = fragment(random, step.piece, step.pieces, [&](Random& details) {
        return is_error ? to_be_cut(error_out(details, c), c)
                        : packet_out(details, c, [](const Packet& packet) { return packet; });
    });
    note(trace, c, "sends a fragment");
    return judge(way_out(c, sent.is_later_fragment() ? "later fragment out" : "first fragment out"), sent, random,
                 trace, [&](const Seen& seen) { return model.out(c, sent, seen); });
}

std::string NatPropertyTest::receive_fragment(Conversation c, std::uint16_t port, const Step& step, NatModel& model,
                                              std::string* trace) {
    Random random(step.seed);
    const bool is_error = is_of_an_error(random, step);
    const Sent sent = fragment(random, step.piece, step.pieces, [&](Random& details) {
        return is_error ? to_be_cut(error_in(details, c, port), c) : packet_in(details, c, port);
    });
    note(trace, c, "is answered by a fragment, or somebody else");
    return judge(way_in(sent.is_later_fragment() ? "later fragment in" : "first fragment in"), sent, random, trace,
                 [&](const Seen& seen) { return model.in(c, port, sent, seen); });
}

std::string NatPropertyTest::complain(const Conversation& c, std::uint64_t seed, NatModel& model, std::string* trace) {
    Random random(seed);
    const SentError error = error_out(random, c);
    const Bytes before = halves_of(c, model);
    note(trace, c, "complains");
    const std::string wrong = judge(way_out(c, "icmp error out"), error.sent, random, trace,
                                    [&](const Seen& seen) { return model.error_out(c, error, seen); });
    return wrong.empty() && halves_of(c, model) != before ? "the error changed its flow" : wrong;
}

std::string NatPropertyTest::complain_to(const Conversation& c, std::uint16_t port, std::uint64_t seed, NatModel& model,
                                         std::string* trace) {
    Random random(seed);
    const SentError error = error_in(random, c, port);
    const Bytes before = halves_of(c, model);
    note(trace, c, "hears a complaint, or somebody else does");
    const std::string wrong = judge(way_in("icmp error in"), error.sent, random, trace,
                                    [&](const Seen& seen) { return model.error_in(c, port, error, seen); });
    return wrong.empty() && halves_of(c, model) != before ? "the error changed its flow" : wrong;
}

std::optional<Flow> NatPropertyTest::flow_of(const Conversation& c, const NatModel& model) {
    const NatModel::State* known = model.find(c);
    if (known == nullptr || !model.is_certain(*known)) {
        return std::nullopt;
    }
    return Flow{.protocol = c.protocol,
                .source = c.container,
                .source_port = c.port,
                .destination = c.remote,
                .destination_port = c.remote_port,
                .translated = c.is_ipv6() ? ipv6().node : ipv4().node,
                .translated_port = known->port};
}

Bytes NatPropertyTest::halves_of(const Conversation& c, const NatModel& model) {
    Bytes bytes;
    const auto flow = flow_of(c, model);
    for_each_half([&](Stage stage, nk_flow_direction direction) {
        const auto half = flow ? node().find(stage, direction, *flow) : std::nullopt;
        const auto words = std::bit_cast<std::array<std::uint8_t, sizeof(nk_flow)>>(half.value_or(nk_flow{}));
        bytes.insert(bytes.end(), words.begin(), words.end());
    });
    return bytes;
}

void NatPropertyTest::forget(const Conversation& c, NatModel& model) {
    if (const auto flow = flow_of(c, model)) {
        for_each_half([&](Stage stage, nk_flow_direction direction) {
            (void)node().erase(stage, direction, *flow);  // not all of them are there
        });
        model.forget(c);
    }
}

void NatPropertyTest::replace(std::size_t container, NatModel& model) {
    if (used_devices_ == devices_.size()) {
        return;
    }
    const std::string& device = devices_.at(used_devices_++);
    const std::uint32_t id = next_id_++;
    places_.at(container) = {.ifindex = if_nametoindex(device.c_str()), .id = id};
    for (const bool v6 : {false, true}) {
        const auto added = node().add_endpoint(address_of(container, v6), device, id);
        EXPECT_TRUE(added) << added.error().message();
        model.replace(address_of(container, v6));
    }
}

std::string NatPropertyTest::take(const World& world, const Step& step, NatModel& model, std::string* trace) {
    const Conversation& c = world.conversations[step.conversation];
    const NatModel::State* known = model.find(c);
    const std::uint16_t known_port = known != nullptr ? known->port : c.port;
    switch (step.kind) {
        case Step::Kind::out:
            return send(c, step.seed, model, trace);
        case Step::Kind::in:
            return known != nullptr ? receive(c, known_port, step.seed, model, trace)
                                    : send(c, step.seed, model, trace);
        case Step::Kind::stray:
            return receive(c, static_cast<std::uint16_t>(step.seed), step.seed, model, trace);
        case Step::Kind::error_out:
            return complain(c, step.seed, model, trace);
        case Step::Kind::error_in:
            return complain_to(c, known_port, step.seed, model, trace);
        case Step::Kind::stray_error:
            return complain_to(c, static_cast<std::uint16_t>(step.seed), step.seed, model, trace);
        case Step::Kind::fragment_out:
            return send_fragment(c, step, model, trace);
        case Step::Kind::fragment_in:
            return receive_fragment(c, known_port, step, model, trace);
        case Step::Kind::forget:
            note(trace, c, "is forgotten");
            forget(c, model);
            return "";
        case Step::Kind::replace:
            note(trace, "another container gets " + c.container);
            replace(container_of(c), model);
            return "";
        case Step::Kind::change:
            node().settings().route_generation++;
            return "";
        case Step::Kind::wait:
            note(trace, "later");
            node().age_fragments(std::chrono::seconds{15});
            model.forget_fragments();
            return "";
    }
    return "";
}

std::optional<NatPropertyTest::Failure> NatPropertyTest::play(const World& world, std::string* trace) {
    TestNode::Options of_world = options;
    of_world.port_first = world.options.port_first;
    of_world.port_last = world.options.port_last;
    node().reset(of_world);
    NatModel model(world.options);
    used_devices_ = 0;
    for (std::size_t container = 0; container < kContainers; container++) {
        replace(container, model);
    }
    counted_ = node().counted();
    for (std::size_t i = 0; i < world.steps.size(); i++) {
        if (std::string wrong = take(world, world.steps[i], model, trace); !wrong.empty()) {
            return Failure{.step = i, .what = std::move(wrong)};
        }
    }
    if (std::string wrong = check_table(model); !wrong.empty()) {
        return Failure{.step = world.steps.size() - 1, .what = std::move(wrong)};
    }
    return std::nullopt;
}

std::string presentation(const nk_addr& address, bool ipv6) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    inet_ntop(ipv6 ? AF_INET6 : AF_INET, address.word, text.data(), text.size());
    return text.data();
}

// What is in the table of a conversation that got an answer, when all is over.
std::string NatPropertyTest::check_table(const NatModel& model) {
    std::map<Conversation, int> halves;
    for (const auto& [key, value] : node().entries(Stage::established)) {
        const bool v6 = key.saddr.word[1] != 0;
        const bool forward = key.direction == NK_FLOW_FORWARD;
        const Conversation c{.protocol = key.proto,
                             .container = presentation(forward ? key.saddr : value.addr, v6),
                             .port = ntohs(forward ? key.sport : value.port),
                             .remote = presentation(forward ? key.daddr : key.saddr, v6),
                             .remote_port = ntohs(forward ? key.dport : key.sport)};
        const NatModel::State* state = model.find(c);
        if (state == nullptr || state->stale) {
            continue;
        }
        const std::uint32_t id = places_.at(container_of(c)).id;
        if (!state->answered && value.endpoint_id == id) {
            return to_string(c) + ": it is established, though nobody answered";
        }
        if (!state->answered || !model.is_certain(*state)) {
            continue;
        }
        halves[c]++;
        const std::uint16_t port = ntohs(forward ? value.port : key.dport);
        const bool ended = (value.flags & NK_FLOW_FIN) != 0;
        const bool ends_agree = ended == (forward ? state->container_ended : state->remote_ended) &&
                                ((value.flags & NK_FLOW_RST) != 0) == state->reset;
        if (port != state->port || value.endpoint_id != id || (state->ends_known && !ends_agree)) {
            return std::format(
                "{}: the table's {} half has port {}, endpoint {}, flags {}; it should be {}, {}, {}{}{}", to_string(c),
                forward ? "forward" : "reverse", port, value.endpoint_id, value.flags, state->port, id,
                state->container_ended ? "ended by the container " : "",
                state->remote_ended ? "ended by the remote " : "", state->reset ? "reset" : "");
        }
    }
    for (const auto& [c, state] : model.conversations()) {
        if (state.answered && model.is_certain(state) && halves[c] != 2) {
            return std::format("{}: it has {} halves in the table", to_string(c), halves[c]);
        }
    }
    return "";
}

World NatPropertyTest::shrink(World world, Failure failure) {
    constexpr int kAttempts = 400;
    world.steps.resize(failure.step + 1);
    std::size_t chunk = world.steps.size() / 2;
    for (int attempt = 0; attempt < kAttempts && chunk > 0;) {
        bool shorter = false;
        for (std::size_t begin = 0; begin + 1 < world.steps.size() && attempt < kAttempts; attempt++) {
            World less = world;
            const auto from = less.steps.begin() + static_cast<std::ptrdiff_t>(begin);
            const auto size = std::min(chunk, less.steps.size() - 1 - begin);  // the last one is it
            less.steps.erase(from, from + static_cast<std::ptrdiff_t>(size));
            if (const auto again = play(less, nullptr)) {
                less.steps.resize(again->step + 1);
                world = std::move(less);
                shorter = true;
            } else {
                begin += chunk;
            }
        }
        chunk = shorter ? std::min(chunk, world.steps.size() / 2) : chunk / 2;
    }
    return world;
}

void NatPropertyTest::play_until(std::uint64_t packets, bool forgets_unanswered) {
    constexpr std::size_t kMostSteps = 20'000;
    const std::uint64_t seed = seed_of_this_run();
    Random random(seed);
    const std::size_t steps = std::min<std::size_t>(kMostSteps, packets / 3);  // a world of each kind
    for (std::uint64_t done = 0; done < packets; done += steps) {
        const World world = random_world(random, done / steps, forgets_unanswered, steps);
        if (const auto failure = play(world, nullptr)) {
            const World least = shrink(world, *failure);
            std::string trace;
            const auto again = play(least, &trace);
            FAIL() << "NETKITD_SEED=" << seed << ", step " << done + failure->step << ", ports "
                   << world.options.port_first << " to " << world.options.port_last << ": " << failure->what
                   << "\n--- of " << least.steps.size() << " steps that lead there:\n"
                   << trace << (again ? again->what : "this time it did not come again");
        }
    }
}

TEST_F(NatPropertyTest, AMillionPackets) {
    play_until(packets_to_run(), false);
    expect_counted({"flow-created", "flow-established", "port-changed", "ports-exhausted", "no-flow", "protocol",
                    "sctp-port", "ttl-expired", "stack-ttl", "fragment", "icmp-error"});
    expect_shares({{"sctp", 5},
                   {"icmp error in", 2},
                   {"icmp error out", 2},
                   {"first fragment out", 2},
                   {"later fragment out", 2},
                   {"first fragment in", 2},
                   {"later fragment in", 2}});
}

// A table of unanswered conversations that is far too small: what got an answer must not notice.
class NatPropertyUnderPressureTest : public NatPropertyTest {
protected:
    NatPropertyUnderPressureTest() { options.fresh_flows = 64; }
};

TEST_F(NatPropertyUnderPressureTest, WhatIsForgottenIsNeverMistaken) {
    play_until(packets_to_run() / 5, true);
    expect_counted({"flow-created", "flow-established", "port-changed", "ports-exhausted"});
}

}  // namespace
}  // namespace netkitd::test
