#include "bpf/nat_model.h"

#include <netinet/in.h>

#include <algorithm>

#include "base/format.h"

namespace netkitd::test {
namespace {

constexpr std::size_t kMacs = 12;  // who is next is not the NAT's business
// Of a pool that small, the last free port is found (bpf/lib/flow_create.h).
constexpr int kSmallPool = 32;

// SCTP's checksum covers the ports, and is a CRC (RFC 9260, 6.8) that only its ends compute.
bool keeps_its_port(std::uint8_t protocol) {
    return protocol == IPPROTO_SCTP;
}

std::uint16_t ipv4_identification(std::span<const std::uint8_t> frame) {
    constexpr std::size_t kOffset = 18;
    return frame.size() < kOffset + 2 ? 0 : static_cast<std::uint16_t>(frame[kOffset] << 8 | frame[kOffset + 1]);
}

std::uint8_t one_less(std::uint8_t ttl) {
    return static_cast<std::uint8_t>(ttl - 1);
}

std::string compare(const Bytes& expected, std::span<const std::uint8_t> seen) {
    if (std::ranges::equal(std::span(expected).subspan(kMacs), seen.subspan(std::min(kMacs, seen.size())))) {
        return "";
    }
    return formatted("it should have become\n{}but became\n{}", describe(expected), describe(seen));
}

std::string compare_translated(const Packet& expected, const Sent& sent, const Seen& seen) {
    return compare(sent.frame_of(expected, seen.frame), seen.frame);
}

std::string expect_unchanged(const Sent& sent, const Seen& seen) {
    if (seen.verdict != Verdict::pass) {
        return "it was not left to the host's stack";
    }
    return compare(sent.frame(), seen.frame);
}

std::string expect_drop(const Seen& seen, std::string_view reason) {
    if (seen.verdict != Verdict::drop || seen.drop != reason) {
        return formatted("it was not dropped as {}{}", reason,
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
    return formatted("{} {} port {} with {} port {}", name, c.container, c.port, c.remote, c.remote_port);
}

const NatModel::State* NatModel::find(const Conversation& conversation) const {
    const auto found = conversations_.find(conversation);
    return found == conversations_.end() ? nullptr : &found->second;
}

std::string NatModel::out(const Conversation& conversation, const Sent& sent, const Seen& seen) {
    if (sent.is_later_fragment()) {
        return later_out(conversation, sent, seen);
    }
    if (sent.ttl <= 1 && !sent.may_not_be_said) {
        return expect_unchanged(sent, seen);
    }
    if (sent.is_fragment()) {
        translated_fragments_.erase(fragments(conversation, sent, true));  // another packet's with its identification
    }
    if (!sent.untranslatable.empty()) {
        return expect_drop(seen, sent.untranslatable);
    }
    const State* known = find(conversation);
    const bool answered = known != nullptr && known->answered && is_certain(*known);
    if (sent.rst && !answered && (known == nullptr || seen.verdict == Verdict::drop)) {
        return expect_drop(seen, "no-flow");
    }
    if (seen.verdict == Verdict::drop) {
        return judge_refusal(conversation, seen);
    }
    if (seen.verdict != Verdict::redirect) {
        return "it went to the host's stack";
    }
    const std::uint16_t port = sent.source_port(seen.frame);
    if (std::string wrong = judge_port(conversation, port); !wrong.empty()) {
        return wrong;
    }
    note_sent(take_over(conversation, port), sent);
    const Packet translated = Packet(sent.packet).from(node(conversation), port).ttl(one_less(sent.ttl));
    return sent.is_fragment() ? first_out(conversation, translated, sent, seen)
                              : compare_translated(translated, sent, seen);
}

NatModel::Fragments NatModel::fragments(const Conversation& conversation, const Sent& sent, bool out) const {
    return {.out = out,
            .container = out ? conversation.container : node(conversation),
            .remote = conversation.remote,
            .id = sent.piece->id,
            .protocol = conversation.is_ipv6() ? std::uint8_t{0} : sent.protocol};
}

std::string NatModel::first_out(const Conversation& conversation, const Packet& translated, const Sent& sent,
                                const Seen& seen) {
    Sent expected = sent;
    if (!conversation.is_ipv6()) {
        expected.piece->id = ipv4_identification(seen.frame);
        if (!fragment_ids_.insert(expected.piece->id).second) {
            return formatted("its identification {} is another packet's", expected.piece->id);
        }
    }
    translated_fragments_[fragments(conversation, sent, true)] = {.address = node(conversation),
                                                                  .id = expected.piece->id};
    return compare_translated(translated, expected, seen);
}

std::string NatModel::later_out(const Conversation& conversation, const Sent& sent, const Seen& seen) const {
    const auto first = translated_fragments_.find(fragments(conversation, sent, true));
    if (first == translated_fragments_.end()) {
        return expect_drop(seen, "fragment");
    }
    if (sent.ttl <= 1) {
        return expect_unchanged(sent, seen);
    }
    if (seen.verdict != Verdict::redirect) {
        return "it did not follow its first fragment";
    }
    Sent expected = sent;
    expected.piece->id = first->second.id;
    return compare_translated(Packet(sent.packet).from(first->second.address, 0).ttl(one_less(sent.ttl)), expected,
                              seen);
}

std::string NatModel::later_in(const Conversation& conversation, const Sent& sent, const Seen& seen) const {
    const auto first = translated_fragments_.find(fragments(conversation, sent, false));
    if (first == translated_fragments_.end()) {
        return expect_unchanged(sent, seen);
    }
    if (sent.ttl <= 1) {
        return expect_drop(seen, "ttl-expired");
    }
    if (seen.verdict != Verdict::redirect) {
        return "it did not follow its first fragment";
    }
    return compare_translated(Packet(sent.packet).to(first->second.address, 0).ttl(one_less(sent.ttl)), sent, seen);
}

std::string NatModel::judge_refusal(const Conversation& conversation, const Seen& seen) const {
    const State* known = find(conversation);
    if (known != nullptr && is_certain(*known)) {
        return formatted("it has port {}, but was dropped as {}", known->port, seen.drop);
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
        return formatted("it was dropped as {}, though only {} of {} ports are taken", seen.drop, taken, size);
    }
    return expect_drop(seen, "ports-exhausted");
}

std::string NatModel::judge_refused_port(const Conversation& conversation, const Seen& seen) const {
    const auto owner = owners_.find(outside(conversation, conversation.port));
    const bool is_free = owner == owners_.end() || (owner->second == conversation && !options_.forgets_unanswered);
    if (in_pool(conversation.port) && is_free) {
        return formatted("it was dropped as {}, though its port is free", seen.drop);
    }
    return expect_drop(seen, "sctp-port");
}

std::string NatModel::judge_port(const Conversation& conversation, std::uint16_t port) const {
    if (!in_pool(port)) {
        return formatted("port {} is not of the pool", port);
    }
    if (keeps_its_port(conversation.protocol) && port != conversation.port) {
        return formatted("it left with port {}", port);
    }
    const State* known = find(conversation);
    if (known != nullptr && is_certain(*known) && port != known->port) {
        return formatted("it left with port {}, but it has {}", port, known->port);
    }
    const auto owner = owners_.find(outside(conversation, port));
    if (owner != owners_.end() && owner->second != conversation) {
        const State* other = find(owner->second);
        if (other != nullptr && other->port == port && is_certain(*other)) {
            return formatted("it left with port {}, which is that of {}", port, to_string(owner->second));
        }
    }
    const bool own_is_free = in_pool(conversation.port) && !owners_.contains(outside(conversation, conversation.port));
    if ((known == nullptr || known->stale) && own_is_free && !options_.forgets_unanswered &&
        port != conversation.port) {
        return formatted("it left with port {}, although its own one is free", port);
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
        return formatted("it was not delivered to {}", to_string(to->conversation));
    }
    return std::nullopt;
}

std::string NatModel::in(const Conversation& conversation, std::uint16_t port, const Sent& sent, const Seen& seen) {
    if (sent.is_later_fragment()) {
        return later_in(conversation, sent, seen);
    }
    const auto to = sent.untranslatable.empty() ? target(conversation, port) : std::nullopt;
    if (auto judged = judge_undelivered(to, sent, seen)) {
        if (sent.is_fragment() && seen.verdict == Verdict::pass) {
            translated_fragments_.erase(fragments(conversation, sent, false));  // this one is the host's
        }
        return *judged;
    }
    const Conversation& c = to->conversation;
    if (sent.is_fragment()) {
        translated_fragments_[fragments(conversation, sent, false)] = {.address = c.container, .id = sent.piece->id};
    }
    const auto state = conversations_.find(c);
    if (to->current && !state->second.stale) {
        note_received(state->second, sent);
    } else if (state != conversations_.end() && !state->second.answered) {
        // It was forgotten in part, and got another port. Which one is answered first, it keeps.
        state->second.contested = options_.forgets_unanswered;
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
    if (sent.ttl <= 1 && !sent.may_not_be_said) {
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
    const std::uint16_t port = certain ? known->port : error.quoted_destination_port(seen.frame);
    if (!in_pool(port)) {
        return formatted("it is about port {}, which is not of the pool", port);
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
