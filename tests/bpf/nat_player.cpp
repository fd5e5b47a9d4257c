#include "bpf/nat_player.h"

#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "base/format.h"
#include "bpf/nat_errors.h"
#include "bpf/nat_fragments.h"
#include "bpf/nat_packets.h"
#include "bpf/nat_table.h"
#include "bpf/packets.h"
#include "datapath/flow_capacity.h"
#include "link/device.h"
#include "link/sysctl.h"

namespace netkitd::test {
namespace {

// Each container has one of its own, and whoever gets its address later another one. Both ends of a veth serve.
constexpr std::size_t kDevices = 32;

void succeed(const Result<void>& done) {
    if (!done) {
        throw std::runtime_error(done.error().message());
    }
}

std::string kind_of_fragment(const Sent& sent, const char* direction) {
    return formatted("{} fragment {}", sent.is_later_fragment() ? "later" : "first", direction);
}

bool is_of_an_error(Random& random, const Step& step) {
    return random.percent(5) && step.pieces > 1;
}

// What the model does not know of two containers of this host.
bool is_about_outside(Step::Kind kind) {
    using enum Step::Kind;
    return kind == error_out || kind == error_in || kind == stray_error || kind == fragment_out ||
           kind == fragment_in || kind == host;
}

// ICMP errors in fragments are not translated. `c`: becomes one with whoever the error is from, or goes to.
Sent to_be_cut(SentError error, Conversation& c) {
    c.remote = error.other_end;
    error.sent.untranslatable = "fragment";
    error.sent.may_not_be_said = true;
    return error.sent;
}

}  // namespace

WorldPlayer::WorldPlayer(const NetworkNamespace& home, const TestNode& node, const TestNode::Options& options)
    : node_(node), options_(options), eth0_(if_nametoindex("eth0")) {
    make_devices(home);
    const RunOptions complete{.checksum_complete = true};
    sums_whole_packets_ = node.run(Program::uplink_ingress, "eth0", to_node(ipv4()).udp(1, 1), complete).has_value();
}

void WorldPlayer::make_devices(const NetworkNamespace& home) {
    std::string commands;
    for (std::size_t i = 0; i < kDevices; i += 2) {
        commands += formatted(
            "link add nk{0} numtxqueues 1 numrxqueues 1 type veth peer name nk{1} numtxqueues 1 numrxqueues 1\n"
            "link set nk{0} up\nlink set nk{1} up\n",
            i, i + 1);
    }
    home.run(formatted("ip -batch - <<'EOF'\n{}EOF", commands));
    for (std::size_t i = 0; i < kDevices; i++) {
        devices_.push_back(formatted("nk{}", i));
    }
}

std::optional<WorldPlayer::Failure> WorldPlayer::play(const World& world, std::string* trace) {
    options_.port_first = world.options.port_first;
    options_.port_last = world.options.port_last;
    node_.reset(options_);
    const datapath::FlowShares shares = datapath::flow_shares(options_.flow_entries, 0);
    NatModel::Options model = world.options;
    model.share = shares.share;
    model.common = shares.common;
    model.entries = options_.flow_entries;
    model_ = NatModel(model);
    world_ = &world;
    has_room_for_all_ = shares.common > world.conversations.size();
    trace_ = trace;
    used_devices_ = 0;
    Random random(0);
    for (std::size_t container = 0; container < kContainers; container++) {
        replace(container, random);
    }
    std::ranges::for_each(world.published, [&](const PublishedPort& published) { publish(published); });
    counted_ = node_.counted();
    for (std::size_t i = 0; i < world.steps.size(); i++) {
        const Step& step = world.steps[i];
        if (std::string wrong = take(world.conversations[step.conversation], step); !wrong.empty()) {
            return Failure{.step = i, .what = std::move(wrong)};
        }
    }
    if (std::string wrong = check_table(); !wrong.empty()) {
        return Failure{.step = world.steps.size() - 1, .what = std::move(wrong)};
    }
    return std::nullopt;
}

std::string WorldPlayer::check_table() const {
    return test::check_table(node_, model_,
                             [&](const Conversation& c) { return places_.at(container_of(c.container)).id; });
}

std::string WorldPlayer::take(const Conversation& c, const Step& step) {
    const std::optional<std::uint16_t> port_to_c = port_to(c, step.seed);
    const std::uint16_t port = port_to_c.value_or(c.port);
    const auto port_of_pool =
        static_cast<std::uint16_t>(options_.port_first + step.seed % (options_.port_last - options_.port_first + 1U));
    if (c.is_inside() && is_about_outside(step.kind)) {
        return "";
    }
    switch (step.kind) {
        case Step::Kind::out:
            return send(c, step.seed);
        case Step::Kind::in:
            return port_to_c ? receive(c, port, step.seed) : send(c, step.seed);
        case Step::Kind::stray:
            return receive(c, any_port(step.seed), step.seed);
        case Step::Kind::error_out:
            return send_error(c, step.seed);
        case Step::Kind::error_in:
            return receive_error(c, port, step.seed);
        case Step::Kind::stray_error:
            return receive_error(c, any_port(step.seed), step.seed);
        case Step::Kind::fragment_out:
            return send_fragment(c, step);
        case Step::Kind::fragment_in:
            return receive_fragment(c, port, step);
        case Step::Kind::host:
            return send_by_host(c, step.seed % 2 == 0 ? port : port_of_pool, step.seed);
        case Step::Kind::flood:
            return receive_flood(step.seed);
        case Step::Kind::forget:
        case Step::Kind::replace:
        case Step::Kind::publish:
        case Step::Kind::take_back:
        case Step::Kind::change:
            happen(c, step);
            break;
        case Step::Kind::wait:
            happen(c, step);
            return check_table();
    }
    return "";
}

std::optional<std::uint16_t> WorldPlayer::port_to(const Conversation& c, std::uint64_t seed) const {
    constexpr std::uint64_t kOneIn = 16;  // who knows a port tries another one
    const NatModel::State* known = model_.find(c);
    std::vector<std::uint16_t> ports;
    for (const PublishedPort& published : model_.published().all()) {
        if (published.leads_to(c.protocol, c.container, c.port)) {
            ports.push_back(published.port);
        }
    }
    if (known != nullptr && (ports.empty() || seed % kOneIn != 0)) {
        return known->port;
    }
    return ports.empty() ? std::nullopt : std::optional(ports[seed / kOneIn % ports.size()]);
}

std::uint16_t WorldPlayer::any_port(std::uint64_t seed) const {
    const auto& published = model_.published().all();
    const bool is_published = seed % 4 == 0 && !published.empty();
    return is_published ? published[seed / 4 % published.size()].port : static_cast<std::uint16_t>(seed);
}

std::string WorldPlayer::kind_of(const Conversation& c, const char* direction) const {
    const NatModel::State* known = model_.find(c);
    if (c.is_inside()) {
        return formatted("{} {}", c.is_of_program() ? "program" : "inside", direction);
    }
    const bool is_published =
        known != nullptr ? known->is_inbound : model_.published().face_of(c.protocol, c.container, c.port) != nullptr;
    if (is_published) {
        return formatted("published {}", direction);
    }
    return c.protocol == IPPROTO_SCTP ? "sctp" : "other";
}

std::string WorldPlayer::send(const Conversation& c, std::uint64_t seed) {
    Random random(seed);
    const Net& net = c.is_ipv6() ? ipv6() : ipv4();
    const NatModel::State* known = model_.find(c);
    const std::uint16_t likely_port = known != nullptr ? known->port : c.port;
    const Sent sent = packet_out(random, c, [&](const Packet& p) { return Packet(p).from(net.node, likely_port); });
    note(c, "sends");
    return run(way_out(c, kind_of(c, "out")), sent, random,
               [&](const Seen& seen) { return model_.out(c, sent, seen); });
}

std::string WorldPlayer::send_by_host(const Conversation& of, std::uint16_t port, std::uint64_t seed) {
    Random random(seed);
    Conversation c = of;
    c.container = model_.node(c);
    c.port = port;
    const Sent sent = packet_out(random, c, [](const Packet& packet) { return packet; });
    note(c, "sends, as the host");
    const Way way{.program = Program::uplink_egress, .ifindex = eth0_, .kind = "of the host"};
    std::string wrong = run(way, sent, random, [&](const Seen& seen) { return model_.host_out(c, sent, seen); });
    return wrong.empty() ? receive(c, port, seed) : wrong;
}

std::string WorldPlayer::receive(const Conversation& c, std::uint16_t port, std::uint64_t seed) {
    return receive_as(kind_of(c, "in"), c, port, seed);
}

std::string WorldPlayer::receive_as(std::string kind, const Conversation& c, std::uint16_t port, std::uint64_t seed) {
    Random random(seed);
    const Sent sent = packet_in(random, c, port);
    note(c, "is answered, or somebody else");
    Way way = way_in(std::move(kind));
    if (c.is_of_program()) {
        way.program = Program::loopback_egress;
        way.ifindex = link::kLoopbackIfindex;
    } else if (c.is_inside()) {
        way.program = Program::veth_ingress;
        way.ifindex = places_.at(container_of(c.remote)).ifindex;
    }
    return run(way, sent, random, [&](const Seen& seen) { return model_.in(c, port, sent, seen); });
}

std::string WorldPlayer::receive_flood(std::uint64_t seed) {
    constexpr int kPackets = 100;
    Random random(seed);
    const auto& published = model_.published().all();
    std::string wrong;
    for (int i = 0; i < kPackets && wrong.empty() && !published.empty() && has_room_for_all_; i++) {
        const PublishedPort& to = random.of(published);
        wrong = receive_as("flood", random_stranger(random, to), to.port, random.next());
    }
    return wrong;
}

std::string WorldPlayer::send_fragment(Conversation c, const Step& step) {
    Random random(step.seed);
    const bool is_error = is_of_an_error(random, step);
    const Sent sent = fragment(random, step.piece, step.pieces, [&](Random& details) {
        return is_error ? to_be_cut(error_out(details, c), c)
                        : packet_out(details, c, [](const Packet& packet) { return packet; });
    });
    note(c, "sends a fragment");
    return run(way_out(c, kind_of_fragment(sent, "out")), sent, random,
               [&](const Seen& seen) { return model_.out(c, sent, seen); });
}

std::string WorldPlayer::receive_fragment(Conversation c, std::uint16_t port, const Step& step) {
    Random random(step.seed);
    const bool is_error = is_of_an_error(random, step);
    const Sent sent = fragment(random, step.piece, step.pieces, [&](Random& details) {
        return is_error ? to_be_cut(error_in(details, c, port), c) : packet_in(details, c, port);
    });
    note(c, "is answered by a fragment, or somebody else");
    return run(way_in(kind_of_fragment(sent, "in")), sent, random,
               [&](const Seen& seen) { return model_.in(c, port, sent, seen); });
}

std::string WorldPlayer::send_error(const Conversation& c, std::uint64_t seed) {
    Random random(seed);
    const SentError error = error_out(random, c);
    note(c, "complains");
    return run_error(c, way_out(c, "icmp error out"), error.sent, random,
                     [&](const Seen& seen) { return model_.error_out(c, error, seen); });
}

std::string WorldPlayer::receive_error(const Conversation& c, std::uint16_t port, std::uint64_t seed) {
    Random random(seed);
    const SentError error = error_in(random, c, port);
    note(c, "hears a complaint, or somebody else does");
    return run_error(c, way_in("icmp error in"), error.sent, random,
                     [&](const Seen& seen) { return model_.error_in(c, port, error, seen); });
}

void WorldPlayer::happen(const Conversation& c, const Step& step) {
    Random random(step.seed);
    const auto& published = model_.published().all();
    if (step.kind == Step::Kind::forget) {
        note(c, "is forgotten");
        if (erase_entries_of(node_, c, model_)) {
            model_.forget(c);
        }
    } else if (step.kind == Step::Kind::replace) {
        note(c, "had a container whose address another one gets");
        replace(container_of(c.container), random);
    } else if (step.kind == Step::Kind::publish) {
        publish(random.of(world_->published));
    } else if (step.kind == Step::Kind::take_back && !published.empty()) {
        take_back(PublishedPort(random.of(published)));
    } else if (step.kind == Step::Kind::change) {
        node_.settings().route_generation++;
    } else if (step.kind == Step::Kind::wait) {
        note(c, "waits, and all others");
        node_.age_fragments(std::chrono::seconds{15});
        model_.forget_fragments();
    }
}

void WorldPlayer::replace(std::size_t container, Random& random) {
    if (used_devices_ == devices_.size()) {
        return;
    }
    const std::vector<PublishedPort> former = end_ports(container);
    const std::string& device = devices_.at(used_devices_++);
    const std::uint32_t id = next_id_++;
    places_.at(container) = {.ifindex = if_nametoindex(device.c_str()), .id = id};
    for (const bool v6 : {false, true}) {
        succeed(node_.add_endpoint(address_of(container, v6), device, id));
        model_.replace(address_of(container, v6));
    }
    for (const PublishedPort& published : former) {
        if (random.percent(70)) {
            publish(published);
        }
    }
}

std::vector<PublishedPort> WorldPlayer::end_ports(std::size_t container) {
    std::vector<PublishedPort> its;
    std::ranges::copy_if(model_.published().all(), std::back_inserter(its), [&](const PublishedPort& one) {
        return one.container == address_of(container, one.is_ipv6());
    });
    std::ranges::for_each(its, [&](const PublishedPort& one) { take_back(one); });
    return its;
}

// Of both kinds: at one address, and at all.
datapath::Frontend WorldPlayer::frontend_of(const PublishedPort& published) const {
    datapath::Frontend frontend{.address = std::nullopt,
                                .port = published.port,
                                .protocol = published.protocol,
                                .container = IpAddr::parse(published.container).value(),
                                .container_port = published.container_port,
                                .endpoint_id = places_.at(container_of(published.container)).id};
    if (published.is_ipv6()) {
        frontend.address = IpAddr::parse(world_->options.node6).value();
    }
    if (!published.allowed.empty()) {
        frontend.allowed = {IpPrefix::single(IpAddr::parse(published.allowed).value())};
    }
    return frontend;
}

void WorldPlayer::publish(const PublishedPort& published) {
    if (published.protocol == IPPROTO_UDP && !has_room_for_all_) {
        return;
    }
    note(published, "is published");
    succeed(node_.publish(frontend_of(published)));
    model_.publish(published);
    node_.settings().route_generation++;  // as the daemon does
}

void WorldPlayer::take_back(const PublishedPort& published) {
    note(published, "is taken back");
    succeed(node_.take_back(frontend_of(published)));
    model_.take_back(published);
    node_.settings().route_generation++;  // as the daemon does
}

WorldPlayer::Way WorldPlayer::way_out(const Conversation& c, std::string kind) const {
    return {.program = Program::veth_ingress,
            .ifindex = places_.at(container_of(c.container)).ifindex,
            .kind = std::move(kind)};
}

WorldPlayer::Way WorldPlayer::way_in(std::string kind) const {
    return {.program = Program::uplink_ingress, .ifindex = eth0_, .kind = std::move(kind)};
}

std::string WorldPlayer::run(const Way& way, const Sent& sent, Random& random, const Judge& judge) {
    // Some come from a device that sums whole packets.
    const RunOptions options{.checksum_complete = sums_whole_packets_ && random.percent(40)};
    const Bytes frame = sent.frame();
    const auto ran = node_.run_frame(way.program, way.ifindex, frame, seen_, options);
    if (!ran) {
        return ran.error().message();
    }
    const Seen seen{.verdict = ran->verdict, .drop = ran->verdict == Verdict::drop ? new_drops() : "", .frame = seen_};
    translated_[way.kind] += std::uint64_t{seen.verdict == Verdict::redirect};
    if (trace_ != nullptr) {
        std::ostringstream text;
        text << "  (" << way.kind << ")\n" << describe(frame);
        text << "  " << seen.verdict << " " << seen.drop << "\n" << describe(seen.frame);
        *trace_ += text.str();
    }
    return judge(seen);
}

std::string WorldPlayer::run_error(const Conversation& c, const Way& way, const Sent& sent, Random& random,
                                   const Judge& judge) {
    const Bytes before = entries_of(node_, c, model_);
    std::string wrong = run(way, sent, random, judge);
    return wrong.empty() && entries_of(node_, c, model_) != before ? "the error changed its flow" : wrong;
}

std::string WorldPlayer::new_drops() {
    std::string names;
    const auto before = std::exchange(counted_, node_.counted());
    for (const auto& [number, name, is_drop] : counter_names()) {
        const auto was = before.find(name);
        if (is_drop && counted_.contains(name) && counted_[name] != (was == before.end() ? 0 : was->second)) {
            names += names.empty() ? name : " and " + name;
        }
    }
    return names;
}

void WorldPlayer::note(const Conversation& c, const char* what) const {
    if (trace_ != nullptr) {
        *trace_ += formatted("{} {}\n", to_string(c), what);
    }
}

void WorldPlayer::note(const PublishedPort& published, const char* what) const {
    if (trace_ != nullptr) {
        *trace_ += formatted("port {} of protocol {}, to {} port {}, {}\n", published.port, published.protocol,
                             published.container, published.container_port, what);
    }
}

}  // namespace netkitd::test
