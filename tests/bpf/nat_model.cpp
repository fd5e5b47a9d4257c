#include "bpf/nat_model.h"

#include <linux/if_ether.h>
#include <netinet/in.h>

#include <algorithm>
#include <format>

namespace netkitd::test {
namespace {

constexpr std::size_t kMacs = 12;  // who is next is not the NAT's business
// Of a pool that small, the last free port is found (bpf/lib/flow_create.h).
constexpr int kSmallPool = 32;

bool is_icmp(std::uint8_t protocol) {
    return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

// SCTP's checksum covers the ports, and is a CRC (RFC 9260, 6.8) that only its ends compute.
bool keeps_its_port(std::uint8_t protocol) {
    return protocol == IPPROTO_SCTP;
}

// From the transport header: RFC 9293, 3.1; RFC 768 and RFC 3828; RFC 792. (SCTP's is never changed.)
std::size_t checksum_offset(std::uint8_t protocol) {
    return protocol == IPPROTO_TCP ? 16 : is_icmp(protocol) ? 2 : 6;
}

std::uint16_t read16(std::span<const std::uint8_t> frame, std::size_t offset) {
    return offset + 1 < frame.size() ? static_cast<std::uint16_t>(frame[offset] << 8 | frame[offset + 1]) : 0;
}

void write16(Bytes& frame, std::size_t offset, std::uint16_t value) {
    frame.at(offset) = static_cast<std::uint8_t>(value >> 8);
    frame.at(offset + 1) = static_cast<std::uint8_t>(value & 0xff);
}

// One's complement, in which 0 and 0xffff are the same (RFC 1071).
std::uint16_t add(std::uint16_t one, std::uint16_t other) {
    const std::uint32_t sum = std::uint32_t{one} + other;
    return static_cast<std::uint16_t>((sum & 0xffff) + (sum >> 16));
}

bool is_same_sum(std::uint16_t one, std::uint16_t other) {
    return one == other || (one % 0xffff == 0 && other % 0xffff == 0);
}

std::uint16_t translated_port(const Sent& sent, const Seen& seen) {
    return read16(seen.frame, sent.transport_offset + (is_icmp(sent.protocol) ? 4 : 0));
}

// The destination of the packet that an error quotes.
std::uint16_t quoted_port(const SentError& error, const Seen& seen) {
    constexpr std::size_t kErrorHeader = 8;
    const std::size_t begin = error.sent.transport_offset + kErrorHeader + error.quoted.transport_offset - ETH_HLEN;
    return read16(seen.frame, begin + (is_icmp(error.quoted.protocol) ? 4 : 2));
}

std::uint8_t one_less(std::uint8_t ttl) {
    return static_cast<std::uint8_t>(ttl - 1);
}

std::string compare(const Bytes& expected, std::span<const std::uint8_t> seen) {
    if (std::ranges::equal(std::span(expected).subspan(kMacs), seen.subspan(std::min(kMacs, seen.size())))) {
        return "";
    }
    return std::format("it should have become\n{}but became\n{}", describe(expected), describe(seen));
}

// `expected`: what it becomes. A checksum that was wrong stays as wrong as it was.
std::string compare_translated(const Packet& expected, const Sent& sent, const Seen& seen) {
    Bytes bytes = expected.bytes();
    if (sent.damage != 0) {
        const std::size_t offset = sent.transport_offset + checksum_offset(sent.protocol);
        const std::uint16_t seen_sum = read16(seen.frame, offset);
        if (is_same_sum(seen_sum, add(read16(bytes, offset), sent.damage))) {
            write16(bytes, offset, seen_sum);
        }
    }
    return compare(bytes, seen.frame);
}

std::string expect_unchanged(const Sent& sent, const Seen& seen) {
    if (seen.verdict != Verdict::pass) {
        return "it was not left to the host's stack";
    }
    return compare(sent.frame(), seen.frame);
}

std::string expect_drop(const Seen& seen, std::string_view reason) {
    if (seen.verdict != Verdict::drop || seen.drop != reason) {
        return std::format("it was not dropped as {}{}", reason,
                           seen.verdict == Verdict::drop ? ", but as " + seen.drop : "");
    }
    return "";
}

void note_sent(NatModel::State& state, const Sent& sent) {
    if (!state.answered) {
        // Whether a connection without an answer has a place for its end is the table's own business.
        state.ends_known = state.ends_known && !sent.fin && !sent.rst;
    } else if (sent.rst) {
        state.reset = true;
    } else if (sent.syn && !sent.ack && state.closed()) {
        state.reset = state.container_ended = state.remote_ended = false;  // a new one under the same ports
    } else if (sent.fin && !sent.syn) {
        state.container_ended = true;
    }
}

void note_received(NatModel::State& state, const Sent& sent) {
    if (sent.rst) {
        state.ends_known = state.ends_known && state.answered;
        state.reset = true;
        return;  // refused is not answered
    }
    state.answered = true;
    state.remote_ended = state.remote_ended || (sent.fin && !sent.syn);
}

}  // namespace

std::string to_string(const Conversation& c) {
    const char* name = c.protocol == IPPROTO_TCP       ? "tcp"
                       : c.protocol == IPPROTO_UDP     ? "udp"
                       : c.protocol == IPPROTO_UDPLITE ? "udp-lite"
                       : c.protocol == IPPROTO_SCTP    ? "sctp"
                                                       : "icmp echo";
    return std::format("{} {} port {} with {} port {}", name, c.container, c.port, c.remote, c.remote_port);
}

Bytes Sent::frame() const {
    Bytes bytes = packet.bytes();
    if (damage != 0) {
        const std::size_t offset = transport_offset + checksum_offset(protocol);
        write16(bytes, offset, add(read16(bytes, offset), damage));
    }
    return bytes;
}

const NatModel::State* NatModel::find(const Conversation& conversation) const {
    const auto found = conversations_.find(conversation);
    return found == conversations_.end() ? nullptr : &found->second;
}

std::string NatModel::out(const Conversation& conversation, const Sent& sent, const Seen& seen) {
    if (sent.ttl <= 1) {
        return expect_unchanged(sent, seen);
    }
    if (!sent.untranslatable.empty()) {
        return expect_drop(seen, sent.untranslatable);
    }
    const State* known = find(conversation);
    const bool answered = known != nullptr && known->answered && !known->stale;
    if (sent.rst && !answered && (known == nullptr || seen.verdict == Verdict::drop)) {
        return expect_drop(seen, "no-flow");
    }
    if (seen.verdict == Verdict::drop) {
        return judge_refusal(conversation, seen);
    }
    if (seen.verdict != Verdict::redirect) {
        return "it went to the host's stack";
    }
    const std::uint16_t port = translated_port(sent, seen);
    if (std::string wrong = judge_port(conversation, port); !wrong.empty()) {
        return wrong;
    }
    note_sent(take_over(conversation, port), sent);
    return compare_translated(Packet(sent.packet).from(node(conversation), port).ttl(one_less(sent.ttl)), sent, seen);
}

std::string NatModel::judge_refusal(const Conversation& conversation, const Seen& seen) const {
    const State* known = find(conversation);
    if (known != nullptr && is_certain(*known)) {
        return std::format("it has port {}, but was dropped as {}", known->port, seen.drop);
    }
    if (keeps_its_port(conversation.protocol)) {
        return judge_refused_port(conversation, seen);
    }
    const auto first = owners_.lower_bound(outside(conversation, options_.port_first));
    const auto last = owners_.upper_bound(outside(conversation, options_.port_last));
    const auto taken = std::distance(first, last);
    const int size = options_.port_last - options_.port_first + 1;
    const bool may_fail = size < kSmallPool ? taken == size : taken > size / 2;
    if (!may_fail) {
        return std::format("it was dropped as {}, though only {} of {} ports are taken", seen.drop, taken, size);
    }
    return expect_drop(seen, "ports-exhausted");
}

std::string NatModel::judge_refused_port(const Conversation& conversation, const Seen& seen) const {
    const auto owner = owners_.find(outside(conversation, conversation.port));
    const bool is_free = owner == owners_.end() || (owner->second == conversation && !options_.forgets_unanswered);
    if (in_pool(conversation.port) && is_free) {
        return std::format("it was dropped as {}, though its port is free", seen.drop);
    }
    return expect_drop(seen, "sctp-port");
}

std::string NatModel::judge_port(const Conversation& conversation, std::uint16_t port) const {
    if (!in_pool(port)) {
        return std::format("port {} is not of the pool", port);
    }
    if (keeps_its_port(conversation.protocol) && port != conversation.port) {
        return std::format("it left with port {}", port);
    }
    const State* known = find(conversation);
    if (known != nullptr && is_certain(*known) && port != known->port) {
        return std::format("it left with port {}, but it has {}", port, known->port);
    }
    const auto owner = owners_.find(outside(conversation, port));
    if (owner != owners_.end() && owner->second != conversation) {
        const State* other = find(owner->second);
        if (other != nullptr && other->port == port && is_certain(*other)) {
            return std::format("it left with port {}, which is that of {}", port, to_string(owner->second));
        }
    }
    const bool own_is_free = in_pool(conversation.port) && !owners_.contains(outside(conversation, conversation.port));
    if ((known == nullptr || known->stale) && own_is_free && !options_.forgets_unanswered &&
        port != conversation.port) {
        return std::format("it left with port {}, although its own one is free", port);
    }
    return "";
}

NatModel::State& NatModel::take_over(const Conversation& conversation, std::uint16_t port) {
    auto& owner = owners_[outside(conversation, port)];
    if (owner != conversation) {
        if (const State* former = find(owner); former != nullptr && former->port == port) {
            conversations_.erase(owner);
        }
        owner = conversation;
    }
    State& state = conversations_[conversation];
    if (state.port != port || state.stale) {
        state = {.port = port};
    }
    return state;
}

std::optional<NatModel::Target> NatModel::target(const Conversation& conversation, std::uint16_t port) const {
    const auto owner = owners_.find(outside(conversation, port));
    if (!in_pool(port) || owner == owners_.end()) {
        return std::nullopt;
    }
    const State* state = find(owner->second);
    const bool current = state != nullptr && state->port == port;
    return Target{.conversation = owner->second, .current = current, .certain = current && is_certain(*state)};
}

std::optional<std::string> NatModel::judge_undelivered(const std::optional<Target>& to, const Sent& sent,
                                                       const Seen& seen) {
    if (!to || (!to->certain && seen.verdict == Verdict::pass)) {
        return expect_unchanged(sent, seen);
    }
    if (sent.ttl <= 1) {
        return expect_drop(seen, "ttl-expired");
    }
    if (seen.verdict != Verdict::redirect) {
        return std::format("it was not delivered to {}", to_string(to->conversation));
    }
    return std::nullopt;
}

std::string NatModel::in(const Conversation& conversation, std::uint16_t port, const Sent& sent, const Seen& seen) {
    const auto to = sent.untranslatable.empty() ? target(conversation, port) : std::nullopt;
    if (auto judged = judge_undelivered(to, sent, seen)) {
        return *judged;
    }
    const Conversation& c = to->conversation;
    if (to->current && !conversations_.at(c).stale) {
        note_received(conversations_.at(c), sent);
    }
    return compare_translated(Packet(sent.packet).to(c.container, c.port).ttl(one_less(sent.ttl)), sent, seen);
}

std::string NatModel::error_in(const Conversation& conversation, std::uint16_t port, const SentError& error,
                               const Seen& seen) const {
    const Sent& sent = error.sent;
    const auto to = sent.untranslatable.empty() ? target(conversation, port) : std::nullopt;
    if (auto judged = judge_undelivered(to, sent, seen)) {
        return *judged;
    }
    const Conversation& c = to->conversation;
    const Packet quoted = Packet(error.quoted.packet).from(c.container, c.port);
    return compare_translated(
        Packet(sent.packet).ip(error.other_end, c.container).ttl(one_less(sent.ttl)).quoting(quoted, error.size), sent,
        seen);
}

std::string NatModel::error_out(const Conversation& c, const SentError& error, const Seen& seen) const {
    const Sent& sent = error.sent;
    if (sent.ttl <= 1) {
        return expect_unchanged(sent, seen);
    }
    if (!sent.untranslatable.empty()) {
        return expect_drop(seen, sent.untranslatable);
    }
    const State* known = find(c);
    const bool certain = known != nullptr && is_certain(*known);
    const bool may_be_there = certain || (options_.forgets_unanswered && (known == nullptr || !known->stale));
    if (!may_be_there || (!certain && seen.verdict == Verdict::drop)) {
        return expect_drop(seen, "no-flow");
    }
    if (seen.verdict != Verdict::redirect) {
        return "it did not leave";
    }
    const std::uint16_t port = certain ? known->port : quoted_port(error, seen);
    if (!in_pool(port)) {
        return std::format("it is about port {}, which is not of the pool", port);
    }
    const Packet quoted = Packet(error.quoted.packet).to(node(c), port);
    return compare_translated(
        Packet(sent.packet).ip(node(c), error.other_end).ttl(one_less(sent.ttl)).quoting(quoted, error.size), sent,
        seen);
}

void NatModel::forget(const Conversation& conversation) {
    const auto found = conversations_.find(conversation);
    if (found != conversations_.end()) {
        owners_.erase(outside(conversation, found->second.port));
        conversations_.erase(found);
    }
}

void NatModel::replace(const std::string& container) {
    for (auto& [conversation, state] : conversations_) {
        state.stale = state.stale || conversation.container == container;
    }
}

}  // namespace netkitd::test
