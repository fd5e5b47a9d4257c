#include "bpf/nat_model.h"

#include <netinet/in.h>

#include <algorithm>

#include "base/format.h"

namespace netkitd::test {
namespace {

constexpr std::size_t kMacs = 12;  // who is next is not the NAT's business
// Of a pool that small, the last free port is found (bpf/lib/flow_create.h).
constexpr int kSmallPool = 32;
// A packet to the container that sends it is written twice, and each time takes one off its TTL.
constexpr int kStepsToItself = 2;

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

// By the container's program: it comes in at netkitd0.
std::string expect_handed_to_stack(const Sent& sent, const Seen& seen) {
    if (seen.verdict != Verdict::redirect) {
        return "it was not handed to the host's stack";
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
    if (sent.rst) {
        state.reset = true;
    } else if (sent.syn && !sent.ack && state.closed()) {
        state = {.port = state.port};  // a new one under the same ports
    } else if (sent.fin && !sent.syn) {
        state.container_ended = true;
    }
    state.began = state.began || (sent.syn && !sent.rst);
}

void note_received(NatModel::State& state, const Sent& sent) {
    if (sent.rst) {
        // Refused is not answered. SCTP's ABORT is not believed.
        state.remote_reset = state.remote_reset || sent.protocol == IPPROTO_TCP;
        return;
    }
    state.reset = state.reset && (state.answered || !sent.syn);
    state.remote_reset = state.remote_reset && (state.answered || !sent.syn);
    state.answered = state.answered || sent.syn || !state.began;
    state.remote_ended = state.remote_ended || (sent.fin && !sent.syn);
}

// Of what is left over, too.
std::string address_of(const Conversation& c) {
    return c.container.substr(0, c.container.find('#'));
}

bool has_connections(std::uint8_t protocol) {
    return protocol == IPPROTO_TCP || protocol == IPPROTO_SCTP;
}

// What comes from outside says nothing of a flow of the host's.
void note_sent_by_host(NatModel::State& state, const Sent& sent) {
    if (sent.syn && !sent.ack) {
        state = {.port = state.port, .answer = state.answer, .is_asked = state.is_asked};
    }
    state.container_ended = state.container_ended || sent.fin;
    state.reset = state.reset || sent.rst;
    state.answered = state.answered || !(sent.syn || sent.rst);
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
    if (sent.is_unreadable()) {
        return expect_drop(seen, "protocol");
    }
    if (sent.ttl <= 1 && !sent.may_not_be_said) {
        return expect_handed_to_stack(sent, seen);
    }
    if (conversation.is_of_program()) {
        return out_to_program(conversation, sent, seen);
    }
    if (conversation.is_inside()) {
        return out_to_client(conversation, sent, seen);
    }
    if (sent.is_fragment()) {
        translated_fragments_.erase(fragments(conversation, sent, true));  // another packet's with its identification
    }
    if (!sent.untranslatable.empty()) {
        return expect_drop(seen, sent.untranslatable);
    }
    const State* known = find(conversation);
    if (known != nullptr && known->stale) {
        // The packet finds that it is of a container that is gone.
        leave_over(conversation);
        known = nullptr;
    }
    if (known != nullptr && !known->is_inbound && has_lost_its_port(conversation)) {
        forget(conversation);
        known = nullptr;
    }
    if (known == nullptr && (sent.rst || is_of_a_lost_arrival(conversation, sent))) {
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
    if (known == nullptr) {
        State& begun = begin(conversation, port);
        begun.container_ended = sent.fin;
        begun.began = sent.syn;
    } else if (known->is_inbound) {
        note_container_sent(conversation, sent);
    } else {
        note_sent(conversations_[conversation], sent);
    }
    const Packet translated = Packet(sent.packet).from(node(conversation), port).ttl(one_less(sent.ttl));
    return sent.is_fragment() ? first_out(conversation, translated, sent, seen)
                              : compare_translated(translated, sent, seen);
}

std::string NatModel::out_to_client(const Conversation& conversation, const Sent& sent, const Seen& seen) {
    if (conversation.remote == gateway(conversation) && sent.ttl <= kStepsToItself) {
        return expect_handed_to_stack(sent, seen);
    }
    if (seen.verdict != Verdict::redirect) {
        return "it was not delivered to the client";
    }
    Packet expected = Packet(sent.packet).ttl(one_less(sent.ttl));
    const State* known = sent.untranslatable.empty() ? find(conversation) : nullptr;
    if (known != nullptr && !known->stale) {
        note_container_sent(conversation, sent);
        expected.from(node(conversation), known->port);
    }
    return compare_translated(expected, sent, seen);
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
        if (!fragment_ids_.emplace(conversation.remote, expected.piece->id).second) {
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
        return expect_handed_to_stack(sent, seen);
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

bool NatModel::is_refused(const Conversation& conversation, std::size_t places) const {
    const auto found = counts_.find(conversation.container);
    const std::size_t own = found == counts_.end() ? 0 : found->second * places;
    const std::size_t all = entries(conversation) / 2;
    return own >= options_.share &&
           (all >= options_.common || own - options_.share >= NK_FLOW_GREED * (options_.common - all));
}

std::string NatModel::judge_refusal(const Conversation& conversation, const Seen& seen) const {
    if (const State* known = find(conversation); known != nullptr) {
        return formatted("it has port {}, but was dropped as {}", known->port, seen.drop);
    }
    if (is_full(conversation, 2) && seen.drop == "flow-table-full") {
        return "";
    }
    const bool keeps = keeps_its_port(conversation.protocol);
    if (is_refused(conversation) && (!keeps || in_pool(conversation.port))) {
        return expect_drop(seen, "flow-share");
    }
    if (keeps) {
        return judge_refused_port(conversation, seen);
    }
    if (const PublishedPort* face = face_of_datagrams(conversation)) {
        return owners_.contains(outside(conversation, face->port))
                   ? expect_drop(seen, "ports-exhausted")
                   : formatted("it was dropped as {}, though its published port is free", seen.drop);
    }
    const int taken = taken_ports(conversation);
    const int size = options_.port_last - options_.port_first + 1;
    const bool may_fail = size < kSmallPool ? taken == size : taken > size / 2;
    if (!may_fail) {
        return formatted("it was dropped as {}, though only {} of {} ports are taken", seen.drop, taken, size);
    }
    return expect_drop(seen, "ports-exhausted");
}

int NatModel::taken_ports(const Conversation& conversation) const {
    const auto first = owners_.lower_bound(outside(conversation, options_.port_first));
    const auto last = owners_.upper_bound(outside(conversation, options_.port_last));
    std::set<std::uint16_t> published;
    for (const PublishedPort& one : published_.all()) {
        if (one.protocol == conversation.protocol && in_pool(one.port) &&
            !owners_.contains(outside(conversation, one.port))) {
            published.insert(one.port);
        }
    }
    return static_cast<int>(std::distance(first, last)) + static_cast<int>(published.size());
}

std::string NatModel::judge_refused_port(const Conversation& conversation, const Seen& seen) const {
    if (in_pool(conversation.port) && !owners_.contains(outside(conversation, conversation.port)) &&
        !published_.has(conversation.protocol, conversation.port)) {
        return formatted("it was dropped as {}, though its port is free", seen.drop);
    }
    return expect_drop(seen, "sctp-port");
}

std::string NatModel::judge_port(const Conversation& conversation, std::uint16_t port) const {
    if (const State* known = find(conversation); known != nullptr) {
        return port == known->port ? "" : formatted("it left with port {}, but it has {}", port, known->port);
    }
    if (is_refused(conversation)) {
        return "its container has more than its share already";
    }
    if (const auto owner = owners_.find(outside(conversation, port)); owner != owners_.end()) {
        return formatted("it left with port {}, which is that of {}", port, to_string(owner->second));
    }
    if (const PublishedPort* face = face_of_datagrams(conversation)) {
        return port == face->port ? "" : formatted("it left with port {}, but is known by {}", port, face->port);
    }
    return judge_new_port(conversation, port);
}

std::string NatModel::judge_new_port(const Conversation& conversation, std::uint16_t port) const {
    if (!in_pool(port)) {
        return formatted("port {} is not of the pool", port);
    }
    if (keeps_its_port(conversation.protocol) && port != conversation.port) {
        return formatted("it left with port {}", port);
    }
    if (published_.has(conversation.protocol, port)) {
        return formatted("it left with port {}, which is published", port);
    }
    const bool own_is_free = is_common(conversation.port) &&
                             !owners_.contains(outside(conversation, conversation.port)) &&
                             !published_.has(conversation.protocol, conversation.port);
    if (own_is_free && port != conversation.port) {
        return formatted("it left with port {}, although its own one is free", port);
    }
    return "";
}

NatModel::State& NatModel::begin(const Conversation& conversation, std::uint16_t port) {
    owners_[outside(conversation, port)] = conversation;
    counts_[conversation.container]++;
    State& state = conversations_[conversation];
    state = {.port = port};
    count_entries(conversation, entries_of(conversation));
    return state;
}

void NatModel::begin_answer(const Conversation& conversation, bool is_asked) {
    Answers& answers = answers_.at(is_asked ? 1 : 0);
    answers.latest.emplace_back(conversation, ++answers.begun);
    if (answers.latest.size() > NK_HOST_ANSWERS) {
        const auto& [oldest, number] = answers.latest.front();
        const State* known = find(oldest);
        if (known != nullptr && known->answer == number && known->is_asked == is_asked) {
            forget(oldest);
        }
        answers.latest.pop_front();
    }
    if (is_full(conversation, 1)) {
        return;
    }
    State& state = begin(conversation, conversation.port);
    state.answer = answers.begun;
    state.is_asked = is_asked;
    counts_[conversation.container]--;
}

int NatModel::entries_of(const Conversation& conversation) const {
    const State* known = find(conversation);
    return is_hosts(conversation) || (known != nullptr && known->left_over) ? 1 : 2;
}

void NatModel::leave_over(const Conversation& conversation) {
    auto node = conversations_.extract(conversation);
    Conversation& name = node.key();
    name.container += formatted("#{}", ++left_over_);
    node.mapped().left_over = true;
    owners_[outside(conversation, node.mapped().port)] = name;
    count_entries(conversation, -1);
    conversations_.insert(std::move(node));
}

std::optional<Conversation> NatModel::target(const Conversation& conversation, std::uint16_t port) const {
    const auto owner = owners_.find(outside(conversation, port));
    return owner == owners_.end() ? std::nullopt : std::optional(owner->second);
}

std::optional<std::string> NatModel::judge_undelivered(const std::optional<Conversation>& to, const Sent& sent,
                                                       const Seen& seen) const {
    if (!to || is_hosts(*to)) {
        return expect_unchanged(sent, seen);
    }
    if (sent.ttl <= 1) {
        return expect_drop(seen, "ttl-expired");
    }
    if (seen.verdict != Verdict::redirect) {
        return formatted("it was not delivered to {}", to_string(*to));
    }
    return std::nullopt;
}

std::string NatModel::in(const Conversation& conversation, std::uint16_t port, const Sent& sent, const Seen& seen) {
    if (sent.is_later_fragment()) {
        return later_in(conversation, sent, seen);
    }
    if (conversation.is_of_program()) {
        return in_of_program(conversation, port, sent, seen);
    }
    if (conversation.is_inside() && sent.is_unreadable()) {
        return expect_drop(seen, "protocol");
    }
    const Arrival arrival = arrive(conversation, port, sent);
    if (!arrival.drop.empty()) {
        return expect_drop(seen, arrival.drop);
    }
    if (conversation.is_inside() && (!arrival.to || sent.ttl <= 1)) {
        return expect_handed_to_stack(sent, seen);
    }
    if (auto judged = judge_undelivered(arrival.to, sent, seen)) {
        if (sent.is_fragment() && seen.verdict == Verdict::pass) {
            translated_fragments_.erase(fragments(conversation, sent, false));  // this one is the host's
        }
        return *judged;
    }
    const Conversation& c = *arrival.to;
    State& state = conversations_.at(c);
    if (sent.is_fragment()) {
        translated_fragments_[fragments(conversation, sent, false)] = {.address = address_of(c), .id = sent.piece->id};
    }
    state.is_inbound ? note_client_sent(c, sent) : note_received(state, sent);
    if (c.remote == gateway(c) && sent.ttl <= kStepsToItself) {
        return expect_handed_to_stack(sent, seen);
    }
    Packet expected = Packet(sent.packet).to(address_of(c), c.port).ttl(one_less(sent.ttl));
    if (c.remote == gateway(c)) {
        expected.from(c.remote, c.remote_port).ttl(one_less(one_less(sent.ttl)));  // in two steps
    }
    return compare_translated(expected, sent, seen);
}

// Connections are led at the socket, and what has more than a plain IP header nobody sends there.
std::string NatModel::in_of_program(const Conversation& conversation, std::uint16_t port, const Sent& sent,
                                    const Seen& seen) {
    const bool is_looked_at =
        sent.protocol != IPPROTO_TCP && sent.is_plain(conversation.is_ipv6()) && sent.ttl > kStepsToItself;
    const Arrival arrival = is_looked_at ? arrive(conversation, port, sent) : Arrival{};
    if (!arrival.drop.empty()) {
        return expect_drop(seen, arrival.drop);
    }
    if (!arrival.to) {
        return expect_unchanged(sent, seen);
    }
    if (seen.verdict != Verdict::redirect) {
        return formatted("it was not delivered to {}", to_string(*arrival.to));
    }
    note_client_sent(*arrival.to, sent);
    return compare_translated(Packet(sent.packet).to(address_of(*arrival.to), arrival.to->port).ttl(one_less(sent.ttl)),
                              sent, seen);
}

std::string NatModel::out_to_program(const Conversation& conversation, const Sent& sent, const Seen& seen) {
    const State* known = sent.untranslatable.empty() && sent.ttl > kStepsToItself ? find(conversation) : nullptr;
    if (known == nullptr || known->stale) {
        return expect_handed_to_stack(sent, seen);
    }
    if (seen.verdict != Verdict::redirect) {
        return "it was not delivered to the program";
    }
    note_container_sent(conversation, sent);
    return compare_translated(Packet(sent.packet).from(node(conversation), known->port).ttl(one_less(sent.ttl)), sent,
                              seen);
}

std::string NatModel::host_out(const Conversation& c, const Sent& sent, const Seen& seen) {
    const bool is_read = sent.extensions.empty() && sent.untranslatable.empty() && in_pool(c.port);
    const auto owner = is_read ? target(c, c.port) : std::nullopt;
    const bool goes_on = !sent.syn && !sent.rst;
    const bool is_hosts_already = owner && is_hosts(*owner) && !(goes_on && find(*owner)->is_asked);
    if (is_read && !is_hosts_already) {
        if (owner && !sent.rst) {
            forget(*owner);
        }
        if (has_connections(sent.protocol) && sent.syn && sent.ack && !sent.rst) {
            begin_answer(c, true);
        } else if (has_connections(sent.protocol) && goes_on) {
            begin_answer(c, false);  // its beginning was not seen to leave
        } else if (!sent.rst && !is_refused(c) && !is_full(c, 1)) {
            begin(c, c.port);
        }
    }
    if (is_read && find(c) != nullptr) {
        note_sent_by_host(conversations_[c], sent);
    }
    return expect_unchanged(sent, seen);
}

std::string NatModel::error_in(const Conversation& conversation, std::uint16_t port, const SentError& error,
                               const Seen& seen) const {
    const Sent& sent = error.sent;
    const bool is_read = sent.untranslatable.empty() && may_be_containers(conversation, port);
    const auto to = is_read ? target(conversation, port) : std::nullopt;
    if (auto judged = judge_undelivered(to, sent, seen)) {
        return *judged;
    }
    const Conversation& c = *to;
    const Packet quoted = Packet(error.quoted.packet).from(address_of(c), c.port);
    return compare_translated(
        Packet(sent.packet).ip(error.other_end, address_of(c)).ttl(one_less(sent.ttl)).quoting(quoted, error.size),
        sent, seen);
}

std::string NatModel::error_out(const Conversation& c, const SentError& error, const Seen& seen) const {
    const Sent& sent = error.sent;
    if (sent.is_unreadable()) {
        return expect_drop(seen, "protocol");
    }
    if (sent.ttl <= 1 && !sent.may_not_be_said) {
        return expect_handed_to_stack(sent, seen);
    }
    if (!sent.untranslatable.empty()) {
        return expect_drop(seen, sent.untranslatable);
    }
    const State* known = find(c);
    if (known == nullptr || known->stale) {
        return expect_drop(seen, "no-flow");
    }
    if (seen.verdict != Verdict::redirect) {
        return "it did not leave";
    }
    const Packet quoted = Packet(error.quoted.packet).to(node(c), known->port);
    return compare_translated(
        Packet(sent.packet).ip(node(c), error.other_end).ttl(one_less(sent.ttl)).quoting(quoted, error.size), sent,
        seen);
}

void NatModel::forget(const Conversation& conversation) {
    const auto found = conversations_.find(conversation);
    if (found == conversations_.end()) {
        return;
    }
    owners_.erase(outside(conversation, found->second.port));
    count_entries(conversation, -entries_of(conversation));
    if (!found->second.stale && found->second.answer == 0 && !found->second.is_arriving) {
        counts_[conversation.container]--;
    }
    conversations_.erase(found);
}

void NatModel::replace(const std::string& container) {
    for (auto& [conversation, state] : conversations_) {
        state.stale = state.stale || conversation.container == container;
    }
    // Its successor does not go on with what it had begun to send.
    std::erase_if(translated_fragments_,
                  [&](const auto& entry) { return entry.first.out && entry.first.container == container; });
    counts_.erase(container);
}

}  // namespace netkitd::test
