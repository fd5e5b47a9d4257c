// Random packets and conversations, a million of them, through the programs and through a plain model of what they are
// to do (nat_model.h): whatever goes out comes out translated, what comes back comes back to who asked for it, and
// every byte of it is right.
//
// Every run says its seed. NETKITD_SEED=N repeats one, NETKITD_PACKETS=N makes it longer or shorter, NETKITD_SHORT=1
// short. A failure is shown with the fewest steps that were found to lead to it, all their packets printed. (Which free
// port a new conversation gets is the kernel's choice each time, so that a rare one may not come again.)
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cstdlib>
#include <format>
#include <functional>
#include <random>
#include <sstream>

#include "bpf/bpf_test.h"
#include "bpf/nat_model.h"
#include "bpf/packets.h"
#include "link/sysctl.h"

namespace netkitd::test {
namespace {

// splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    std::size_t below(std::size_t bound) { return next() % bound; }
    bool percent(std::size_t chance) { return below(100) < chance; }
    template <typename Range>
    const auto& of(const Range& range) {
        return range[below(std::size(range))];
    }

private:
    std::uint64_t state_;
};

std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

std::uint64_t packets_to_run() {
    const bool is_short = std::getenv("NETKITD_SHORT") != nullptr;
    return number_from_environment("NETKITD_PACKETS", is_short ? 40'000 : 1'040'000);
}

// --- the containers -----------------------------------------------------------------------------------------------

constexpr std::size_t kContainers = 6;
// Each has one of its own, and whoever gets its address later another one. Both ends of a veth serve.
constexpr std::size_t kDevices = 32;

std::string address_of(std::size_t container, bool ipv6) {
    return std::format("{}{}", ipv6 ? "2001:db8:77::" : "10.77.0.", container + 2);
}

std::size_t container_of(const Conversation& c) {
    return static_cast<std::size_t>(c.container.back() - '2');
}

// --- packets ------------------------------------------------------------------------------------------------------

std::string random_bytes(Random& random, std::size_t size) {
    std::string bytes(size, '\0');
    for (std::size_t i = 0; i < size; i += 8) {
        const std::uint64_t word = random.next();
        std::memcpy(bytes.data() + i, &word, std::min<std::size_t>(8, size - i));
    }
    return bytes;
}

std::size_t random_size(Random& random) {
    return random.percent(85) ? random.below(64) : random.below(1100);
}

// What both families have in common with all protocols: TTL, type of service, options, extension headers.
void add_network_layer(Random& random, Sent& sent, bool ipv6) {
    sent.ttl = random.percent(3) ? 1 : random.percent(10) ? 2 : static_cast<std::uint8_t>(random.below(254) + 2);
    sent.packet.ttl(sent.ttl);
    sent.transport_offset = ETH_HLEN + (ipv6 ? 40 : 20);
    if (!ipv6) {
        if (random.percent(20)) {
            sent.packet.tos(static_cast<std::uint8_t>(random.below(256)));
        }
        if (random.percent(50)) {
            sent.packet.dont_fragment();
        }
        if (random.percent(10)) {
            const std::size_t size = 4 * (random.below(10) + 1);
            sent.packet.ip_options(Bytes(size, 1));  // no operation
            sent.transport_offset += size;
        }
        return;
    }
    const std::size_t extensions = random.percent(10) ? random.below(4) + 1 : 0;
    for (std::size_t i = 0; i < extensions; i++) {
        const std::size_t size = 8 * (random.below(7) + 1);
        sent.packet.extension(random.of(std::array<std::uint8_t, 3>{IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS}),
                              size);
        sent.transport_offset += size;
    }
    if (sent.transport_offset > 255) {  // NK_L4_OFFSET_MASK
        sent.untranslatable = "protocol";
    }
}

void add_tcp(Random& random, Sent& sent, std::uint16_t source, std::uint16_t destination) {
    sent.packet.tcp(source, destination);
    sent.ack = random.percent(85);
    sent.syn = random.percent(15);
    sent.fin = random.percent(8);
    sent.rst = random.percent(4);
    sent.syn ? (void)sent.packet.syn() : void();
    sent.ack ? (void)sent.packet.ack() : void();
    sent.fin ? (void)sent.packet.fin() : void();
    sent.rst ? (void)sent.packet.rst() : void();
    const std::size_t option_words = random.percent(30) ? random.below(10) + 1 : 0;
    sent.packet.tcp_header_words(static_cast<std::uint8_t>(5 + option_words));
    sent.packet.payload(random_bytes(random, 4 * option_words + random_size(random)));
}

// A payload that makes the checksum of `translated`, this packet as it will be, come out as zero, which is written as
// 0xffff (RFC 768).
std::string payload_with_sum_zero(Random& random, const Packet& translated, std::size_t transport_offset) {
    std::string payload = random_bytes(random, 2 + 2 * random.below(30));
    payload[0] = payload[1] = '\0';
    const Bytes frame = Packet(translated).payload(payload).bytes();
    payload[0] = static_cast<char>(frame.at(transport_offset + 6));
    payload[1] = static_cast<char>(frame.at(transport_offset + 7));
    return payload;
}

using Translate = std::function<Packet(const Packet&)>;

void add_udp(Random& random, Sent& sent, std::uint16_t source, std::uint16_t destination, const Translate& translate) {
    sent.packet.udp(source, destination).payload(random_bytes(random, random_size(random)));
    if (random.percent(10)) {
        sent.packet.without_udp_checksum();
    } else if (random.percent(10)) {
        sent.packet.payload(payload_with_sum_zero(random, translate(sent.packet), sent.transport_offset));
    }
}

// How much of it the checksum covers: at least the header, and never more than there is (RFC 3828).
void add_udplite(Random& random, Sent& sent, std::uint16_t source, std::uint16_t destination) {
    constexpr std::size_t kHeader = 8;
    const std::size_t size = random_size(random);
    const std::size_t coverage = random.percent(40) ? 0 : kHeader + random.below(size + 1);
    sent.packet.udplite(source, destination, static_cast<std::uint16_t>(coverage)).payload(random_bytes(random, size));
}

// Zero is written for none.
bool has_optional_sum(std::uint8_t protocol) {
    return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE;
}

void add_damage(Random& random, Sent& sent) {
    const Bytes frame = sent.frame();
    const std::size_t offset = sent.transport_offset + 6;
    const bool no_sum = has_optional_sum(sent.protocol) && frame.at(offset) == 0 && frame.at(offset + 1) == 0;
    if (no_sum || !random.percent(3)) {
        return;
    }
    sent.damage = static_cast<std::uint16_t>(random.below(0xfffe) + 1);
    const Bytes damaged = sent.frame();
    if (has_optional_sum(sent.protocol) && damaged.at(offset) == 0 && damaged.at(offset + 1) == 0) {
        sent.damage = 0;  // that would mean: no checksum
    }
}

// From the container. `translate`: as far as it is known, what it becomes.
Sent packet_out(Random& random, const Conversation& c, const Translate& translate) {
    Sent sent{.packet = Packet().ip(c.container, c.remote), .protocol = c.protocol};
    add_network_layer(random, sent, c.is_ipv6());
    if (c.protocol == IPPROTO_TCP) {
        add_tcp(random, sent, c.port, c.remote_port);
    } else if (c.protocol == IPPROTO_UDP) {
        add_udp(random, sent, c.port, c.remote_port, translate);
    } else if (c.protocol == IPPROTO_UDPLITE) {
        add_udplite(random, sent, c.port, c.remote_port);
    } else {
        const bool reply = random.percent(3);
        sent.packet.payload(random_bytes(random, random_size(random)));
        reply ? sent.packet.echo_reply(c.port) : sent.packet.echo_request(c.port);
        sent.untranslatable = reply && sent.untranslatable.empty() ? "no-flow" : sent.untranslatable;
    }
    add_damage(random, sent);
    return sent;
}

// From the remote to a port of the node.
Sent packet_in(Random& random, const Conversation& c, std::uint16_t port) {
    const Net& net = c.is_ipv6() ? ipv6() : ipv4();
    Sent sent{.packet = Packet().eth(kUplinkMac, kRouterMac).ip(c.remote, net.node), .protocol = c.protocol};
    add_network_layer(random, sent, c.is_ipv6());
    if (c.protocol == IPPROTO_TCP) {
        add_tcp(random, sent, c.remote_port, port);
    } else if (c.protocol == IPPROTO_UDP) {
        add_udp(random, sent, c.remote_port, port,
                [&](const Packet& packet) { return Packet(packet).to(c.container, c.port); });
    } else if (c.protocol == IPPROTO_UDPLITE) {
        add_udplite(random, sent, c.remote_port, port);
    } else {
        const bool request = random.percent(3);
        sent.packet.payload(random_bytes(random, random_size(random)));
        request ? sent.packet.echo_request(port) : sent.packet.echo_reply(port);
        sent.untranslatable = request && sent.untranslatable.empty() ? "asks the host" : sent.untranslatable;
    }
    add_damage(random, sent);
    return sent;
}

// --- worlds: what happens on one node ------------------------------------------------------------------------------

struct Step {
    enum class Kind {
        out,      // the container sends
        in,       // the remote answers
        stray,    // the remote sends to some port of the node
        forget,   // the daemon cleans the conversation up
        replace,  // the container goes, and another gets its address
        change,   // something of the host's network changes
    } kind{};
    std::size_t conversation = 0;
    std::uint64_t seed = 0;  // of the packet's details
};

struct World {
    NatModel::Options options;
    std::vector<Conversation> conversations;
    std::vector<Step> steps;
};

Conversation random_conversation(Random& random, std::size_t remotes, bool narrow, std::uint16_t port_first) {
    const bool v6 = random.percent(50);
    const std::array<std::uint8_t, 7> protocols{
        IPPROTO_TCP,
        IPPROTO_TCP,
        IPPROTO_UDP,
        IPPROTO_UDP,
        IPPROTO_UDPLITE,
        static_cast<std::uint8_t>(v6 ? int{IPPROTO_ICMPV6} : int{IPPROTO_ICMP}),
        static_cast<std::uint8_t>(v6 ? int{IPPROTO_ICMPV6} : int{IPPROTO_ICMP})};
    const std::array<std::uint16_t, 6> ports{1000,       49152,
                                             50000,      static_cast<std::uint16_t>(random.next() | 1),
                                             port_first, static_cast<std::uint16_t>(port_first + 1)};
    Conversation c{.protocol = random.of(protocols),
                   .container = address_of(random.below(kContainers), v6),
                   .port = random.of(ports),
                   .remote = std::format("{}{}", v6 ? "2001:db8:51::" : "198.51.100.", random.below(remotes) + 1)};
    const bool has_port = c.protocol != IPPROTO_ICMP && c.protocol != IPPROTO_ICMPV6;
    c.remote_port = has_port ? narrow ? 443 : random.of(std::array<std::uint16_t, 4>{53, 80, 443, 50000}) : 0;
    return c;
}

Step random_step(Random& random, std::size_t conversations) {
    using enum Step::Kind;
    constexpr std::array<std::pair<Step::Kind, std::size_t>, 6> kThousandths{
        {{out, 540}, {in, 400}, {stray, 30}, {forget, 15}, {replace, 2}, {change, 13}}};
    std::size_t left = random.below(1000);
    Step step{.conversation = random.below(conversations), .seed = random.next()};
    for (const auto& [kind, weight] : kThousandths) {
        step.kind = kind;
        if (left < weight) {
            break;
        }
        left -= weight;
    }
    return step;
}

World random_world(Random& random, std::size_t number, bool forgets_unanswered, std::size_t steps) {
    World world;
    // The whole pool, one that is soon used up, or one in which a free port has to be found.
    const std::size_t kind = number % 3;
    const std::size_t size = kind == 0 ? 16384 : kind == 1 ? random.below(31) + 1 : 64;
    const std::uint16_t first = kind == 0 ? 49152 : 50000;
    world.options = {.port_first = first,
                     .port_last = static_cast<std::uint16_t>(first + size - 1),
                     .forgets_unanswered = forgets_unanswered};
    const std::size_t remotes = kind == 0 ? 5 : 1;
    for (int i = 0; i < 300; i++) {
        world.conversations.push_back(random_conversation(random, remotes, kind != 0, first));
    }
    for (std::size_t i = 0; i < steps; i++) {
        world.steps.push_back(random_step(random, world.conversations.size()));
    }
    return world;
}

// --- the test -----------------------------------------------------------------------------------------------------

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
    // That what the test is about did happen.
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
    Result<Seen> run(Program program, std::uint32_t ifindex, const Bytes& frame, Random& random);
    std::string check_table(const NatModel& model);
    std::string check_entry(const NatModel& model, const nk_flow6_key& key, const nk_flow& value);

    std::uint32_t eth0_ = 0;
    std::vector<std::string> devices_;
    std::size_t used_devices_ = 0;
    bool sums_whole_packets_ = false;
    Bytes seen_;
    std::map<std::string, std::uint64_t> counted_;
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

void note(std::string* trace, const Seen& seen) {
    std::ostringstream verdict;
    verdict << seen.verdict;
    note(trace, std::format("  {} {}", verdict.str(), seen.drop), seen.frame);
}

Result<Seen> NatPropertyTest::run(Program program, std::uint32_t ifindex, const Bytes& frame, Random& random) {
    const auto ran = NK_TRY(node().run_frame(program, ifindex, frame, seen_, random_options(random)));
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

std::string NatPropertyTest::send(const Conversation& c, std::uint64_t seed, NatModel& model, std::string* trace) {
    Random random(seed);
    const Net& net = c.is_ipv6() ? ipv6() : ipv4();
    const NatModel::State* known = model.find(c);
    const std::uint16_t likely_port = known != nullptr ? known->port : c.port;
    const Sent sent = packet_out(random, c, [&](const Packet& p) { return Packet(p).from(net.node, likely_port); });
    const Bytes frame = sent.frame();
    const auto seen = run(Program::veth_ingress, places_.at(container_of(c)).ifindex, frame, random);
    if (!seen) {
        return seen.error().message();
    }
    if (trace != nullptr) {
        note(trace, to_string(c) + ": sends", frame);
        note(trace, *seen);
    }
    return model.out(c, sent, *seen);
}

std::string NatPropertyTest::receive(const Conversation& c, std::uint16_t port, std::uint64_t seed, NatModel& model,
                                     std::string* trace) {
    Random random(seed);
    const Sent sent = packet_in(random, c, port);
    const Bytes frame = sent.frame();
    const auto seen = run(Program::uplink_ingress, eth0_, frame, random);
    if (!seen) {
        return seen.error().message();
    }
    if (trace != nullptr) {
        note(trace, std::format("from {} port {} to the node's port {}", c.remote, c.remote_port, port), frame);
        note(trace, *seen);
    }
    return model.in(c, port, sent, *seen);
}

void NatPropertyTest::forget(const Conversation& c, NatModel& model) {
    const NatModel::State* known = model.find(c);
    if (known == nullptr || !model.is_certain(*known)) {
        return;
    }
    const Flow flow{.protocol = c.protocol,
                    .source = c.container,
                    .source_port = c.port,
                    .destination = c.remote,
                    .destination_port = c.remote_port,
                    .translated = c.is_ipv6() ? ipv6().node : ipv4().node,
                    .translated_port = known->port};
    for (const Stage stage : {Stage::fresh, Stage::established}) {
        for (const auto direction : {NK_FLOW_FORWARD, NK_FLOW_REVERSE}) {
            (void)node().erase(stage, direction, flow);  // not all of them are there
        }
    }
    model.forget(c);
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
    switch (step.kind) {
        case Step::Kind::out:
            return send(c, step.seed, model, trace);
        case Step::Kind::in:
            if (const NatModel::State* known = model.find(c)) {
                return receive(c, known->port, step.seed, model, trace);
            }
            return send(c, step.seed, model, trace);
        case Step::Kind::stray:
            return receive(c, static_cast<std::uint16_t>(step.seed), step.seed, model, trace);
        case Step::Kind::forget:
            note(trace, to_string(c) + ": forgotten");
            forget(c, model);
            return "";
        case Step::Kind::replace:
            note(trace, "another container gets " + c.container);
            replace(container_of(c), model);
            return "";
        case Step::Kind::change:
            node().settings().route_generation++;
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
        if (state == nullptr || !state->answered || !model.is_certain(*state)) {
            continue;
        }
        halves[c]++;
        const std::uint16_t port = ntohs(forward ? value.port : key.dport);
        const bool ended = (value.flags & NK_FLOW_FIN) != 0;
        const bool ends_agree = ended == (forward ? state->container_ended : state->remote_ended) &&
                                ((value.flags & NK_FLOW_RST) != 0) == state->reset;
        const std::uint32_t id = places_.at(container_of(c)).id;
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
    const std::uint64_t seed = number_from_environment("NETKITD_SEED", std::random_device{}());
    std::printf("[ seed   ] NETKITD_SEED=%lu\n", seed);
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
                    "ttl-expired", "stack-ttl"});
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

// --- on the wire --------------------------------------------------------------------------------------------------

// struct virtio_net_hdr (linux/virtio_net.h, which is no C++), as packet(7)'s PACKET_VNET_HDR has it.
struct VirtioHeader {
    std::uint8_t flags = 0;
    std::uint8_t gso_type = 0;
    std::uint16_t header_len = 0;
    std::uint16_t gso_size = 0;
    std::uint16_t csum_start = 0;
    std::uint16_t csum_offset = 0;
};
static_assert(sizeof(VirtioHeader) == 10);
constexpr std::uint8_t kNeedsSum = 1;

// Frames with what the sender left for the device to do, which PROG_RUN cannot give: the transport checksum.
class FrameSocket {
public:
    explicit FrameSocket(const char* device) : fd_(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL))) {
        const int on = 1;
        EXPECT_EQ(setsockopt(fd_.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0) << std::strerror(errno);
        EXPECT_EQ(setsockopt(fd_.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)), 0);
        sockaddr_ll name{};
        name.sll_family = AF_PACKET;
        name.sll_protocol = htons(ETH_P_ALL);
        name.sll_ifindex = static_cast<int>(if_nametoindex(device));
        // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the sockets' interface
        EXPECT_EQ(bind(fd_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0) << std::strerror(errno);
    }

    void send(const VirtioHeader& header, const Bytes& frame) const {
        Bytes bytes(sizeof(header) + frame.size());
        std::memcpy(bytes.data(), &header, sizeof(header));
        std::ranges::copy(frame, bytes.begin() + sizeof(header));
        EXPECT_EQ(::send(fd_.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()))
            << std::strerror(errno);
    }
    // The next frame that `wanted` says yes to; empty if none comes.
    Bytes receive(VirtioHeader& header, const std::function<bool(const Bytes&)>& wanted) const {
        constexpr int kTimeoutMs = 3000;
        pollfd wait{.fd = fd_.get(), .events = POLLIN, .revents = 0};
        while (::poll(&wait, 1, kTimeoutMs) == 1) {
            Bytes bytes(65536);
            const ssize_t size = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
            if (size < static_cast<ssize_t>(sizeof(header) + ETH_HLEN)) {
                continue;
            }
            std::memcpy(&header, bytes.data(), sizeof(header));
            Bytes frame(bytes.begin() + sizeof(header), bytes.begin() + size);
            if (wanted(frame)) {
                return frame;
            }
        }
        return {};
    }

private:
    UniqueFd fd_;
};

std::span<const std::uint8_t> addresses_of(const Bytes& frame) {
    const bool v6 = frame.at(12) == 0x86;
    return std::span(frame).subspan(ETH_HLEN + (v6 ? 8 : 12), v6 ? 32 : 8);
}

void put_checksum(Bytes& frame, std::size_t offset, std::uint16_t value) {
    frame.at(offset) = static_cast<std::uint8_t>(value >> 8);
    frame.at(offset + 1) = static_cast<std::uint8_t>(value & 0xff);
}

class NatOnTheWireTest : public BpfTest {
protected:
    NatOnTheWireTest() { options.established_flows = options.fresh_flows = 16384; }

    // The containers' ends are where nobody answers what comes out of them.
    void SetUp() override {
        BpfTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) {
            return;
        }
        NetnsTest::node().run(std::format("ip link set web netns {0}; ip link set db netns {0}", containers_.path()));
        containers_.run(
            "for device in web db; do echo 1 >/proc/sys/net/ipv6/conf/$device/disable_ipv6; ip link set $device up; "
            "done");
        containers_.inside([&] {
            container_sockets_.emplace_back("web");
            container_sockets_.emplace_back("db");
        });
        router_.emplace("wire0");
        for (const auto& [program, device] : {std::pair(Program::veth_ingress, "nkweb"),
                                              {Program::veth_ingress, "nkdb"},
                                              {Program::uplink_ingress, "eth0"},
                                              {Program::uplink_egress, "eth0"}}) {
            const auto attached = node().attach(program, device);
            ASSERT_TRUE(attached) << attached.error().message();
        }
        for (std::size_t container = 2; container < kContainers; container++) {
            for (const bool v6 : {false, true}) {
                ASSERT_TRUE(node().add_endpoint(address_of(container, v6), container % 2 == 0 ? "nkweb" : "nkdb",
                                                static_cast<std::uint32_t>(container + 1)));
            }
        }
    }

    enum class Summed { by_sender, by_device, inside_a_tunnel };
    // Carries the frame from one socket to another; what came out, as a device that computes sums would send it.
    Bytes carry(const FrameSocket& from, const FrameSocket& to, const Sent& sent, Summed summed,
                const std::string& source);

    const FrameSocket& socket_of(const Conversation& c) const { return container_sockets_.at(container_of(c) % 2); }
    const FrameSocket& router() const { return *router_; }

    std::uint64_t left_to_the_device_ = 0;  // of the frames that came out

private:
    NetworkNamespace containers_;
    std::vector<FrameSocket> container_sockets_;  // web's and db's
    std::optional<FrameSocket> router_;
};

Bytes NatOnTheWireTest::carry(const FrameSocket& from, const FrameSocket& to, const Sent& sent, Summed summed,
                              const std::string& source) {
    VirtioHeader header{};
    Bytes frame = sent.frame();
    const std::uint16_t check_offset = sent.protocol == IPPROTO_TCP ? 16 : 6;
    if (summed != Summed::by_sender) {
        header.flags = kNeedsSum;
        header.csum_start = static_cast<std::uint16_t>(sent.transport_offset + (summed == Summed::by_device ? 0 : 16));
        header.csum_offset = check_offset;
    }
    if (summed == Summed::by_device) {
        const Bytes pseudo = pseudo_header(addresses_of(frame), sent.protocol, frame.size() - sent.transport_offset);
        put_checksum(frame, sent.transport_offset + check_offset,
                     static_cast<std::uint16_t>(~internet_checksum(pseudo)));
    }
    from.send(header, frame);
    const Bytes expected_source = Packet().ip(source, source).bytes();
    VirtioHeader seen{};
    Bytes out = to.receive(seen, [&](const Bytes& candidate) {
        return candidate.size() >= frame.size() && candidate.at(12) == frame.at(12) &&
               std::ranges::equal(addresses_of(candidate).first(addresses_of(candidate).size() / 2),
                                  addresses_of(expected_source).first(addresses_of(expected_source).size() / 2));
    });
    if (out.empty() || (seen.flags & kNeedsSum) == 0) {
        return out;
    }
    left_to_the_device_++;
    EXPECT_EQ(seen.csum_start, header.csum_start);
    EXPECT_EQ(seen.csum_offset, header.csum_offset);
    if (summed == Summed::by_device) {
        std::uint16_t sum = internet_checksum(std::span(out).subspan(sent.transport_offset));
        sum = sum == 0 && sent.protocol == IPPROTO_UDP ? 0xffff : sum;
        put_checksum(out, sent.transport_offset + check_offset, sum);
    }
    return out;
}

TEST_F(NatOnTheWireTest, ChecksumsThatAreLeftToTheDevice) {
    const std::uint64_t seed = number_from_environment("NETKITD_SEED", std::random_device{}());
    std::printf("[ seed   ] NETKITD_SEED=%lu\n", seed);
    Random random(seed);
    NatModel model({.port_first = options.port_first, .port_last = options.port_last});
    std::vector<Conversation> conversations;
    for (int i = 0; i < 100; i++) {
        conversations.push_back(random_conversation(random, 5, false, 49152));
    }
    const std::uint64_t packets = packets_to_run() / 10;
    std::uint64_t given_to_the_device = 0;
    for (std::uint64_t done = 0; done < packets;) {
        const Conversation& c = random.of(conversations);
        const Net& net = c.is_ipv6() ? ipv6() : ipv4();
        const NatModel::State* known = model.find(c);
        const bool out = known == nullptr || random.percent(50);
        const Sent sent = out ? packet_out(random, c, [](const Packet& packet) { return packet; })
                              : packet_in(random, c, known->port);
        if (sent.ttl <= 1 || sent.rst || sent.damage != 0 || !sent.untranslatable.empty()) {
            continue;
        }
        const Bytes frame = sent.frame();
        const bool has_sum = c.protocol == IPPROTO_TCP ||
                             (c.protocol == IPPROTO_UDP &&
                              (frame.at(sent.transport_offset + 6) != 0 || frame.at(sent.transport_offset + 7) != 0));
        const bool has_room = c.protocol == IPPROTO_UDP && frame.size() > sent.transport_offset + 40;
        const Summed summed = has_room && random.percent(20)  ? Summed::inside_a_tunnel
                              : has_sum && random.percent(85) ? Summed::by_device
                                                              : Summed::by_sender;
        given_to_the_device += summed == Summed::by_sender ? 0 : 1;
        const Bytes seen = out ? carry(socket_of(c), router(), sent, summed, net.node)
                               : carry(router(), socket_of(c), sent, summed, c.remote);
        const Seen became{.verdict = seen.empty() ? Verdict::drop : Verdict::redirect, .frame = seen};
        const std::string wrong = out ? model.out(c, sent, became) : model.in(c, known->port, sent, became);
        ASSERT_EQ(wrong, "") << to_string(c) << ", NETKITD_SEED=" << seed << ", packet " << done << ", sent was\n"
                             << describe(frame);
        done++;
    }
    EXPECT_EQ(left_to_the_device_, given_to_the_device) << "none was summed on the way";
}

}  // namespace
}  // namespace netkitd::test
