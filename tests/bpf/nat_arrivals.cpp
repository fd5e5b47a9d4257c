// What the model of NAT says of conversations that somebody outside begins, to a published port: they are told from
// those of containers by who began them, come back as they were when they are lost, and cost nobody anything until the
// container has taken them up.
#include <netinet/in.h>

#include "bpf/nat_model.h"

namespace netkitd::test {
namespace {

bool begins_a_connection(const Sent& sent) {
    return sent.syn && !sent.ack;
}

bool answers_a_beginning(const Sent& sent) {
    return sent.syn && sent.ack;
}

}  // namespace

NatModel::Arrival NatModel::arrive(const Conversation& conversation, std::uint16_t port, const Sent& sent) {
    if (!sent.untranslatable.empty() || !may_be_containers(conversation, port)) {
        return {};
    }
    auto owner = target(conversation, port);
    if (sent.ttl <= 1 || (owner && is_hosts(*owner))) {
        return {.to = owner};
    }
    if (owner && has_lost_its_port(*owner)) {
        forget(*owner);
        owner.reset();
    }
    // What somebody outside begins is none of the connections that containers began.
    const bool begins = sent.protocol == IPPROTO_TCP && begins_a_connection(sent);
    if (owner && (!begins || find(*owner)->is_inbound)) {
        return {.to = owner};
    }
    const PublishedPort* published = published_.at(conversation.protocol, conversation.is_ipv6(), port);
    if (published == nullptr) {
        return {};
    }
    if (published->container == conversation.remote && published->admits(conversation.remote)) {
        Conversation own = conversation;
        own.remote = gateway(conversation);
        return arrive(own, port, sent);
    }
    return arrive_at(*published, conversation, sent);
}

NatModel::Arrival NatModel::arrive_at(const PublishedPort& published, const Conversation& conversation,
                                      const Sent& sent) {
    if (!conversation.is_of_program() && !published.admits(conversation.remote)) {
        return conversation.is_inside() ? Arrival{} : Arrival{.drop = "not-allowed"};
    }
    if (sent.rst || answers_a_beginning(sent)) {
        return {.drop = "no-flow"};
    }
    Conversation c = conversation;
    c.container = published.container;
    c.port = published.container_port;
    make_room_for_arrival(c, outside(c, published.port));
    if (target(c, published.port)) {
        return {.drop = "port-clash"};  // the container itself had begun one with the port, before it was published
    }
    const State* known = find(c);
    if (is_full(c, known == nullptr ? 2 : 1)) {
        return {.drop = "flow-table-full"};
    }
    if (known != nullptr && !known->stale) {
        return {.drop = "port-clash"};
    }
    if (known != nullptr) {
        leave_over(c);
    }
    begin_arrival(c, published.port, sent);
    return {.to = c};
}

void NatModel::make_room_for_arrival(const Conversation& conversation, const Outside& latest) {
    std::deque<Outside>& arrivals = arrivals_[conversation.is_inside() ? conversation.remote : ""];
    const bool is_of_container = conversation.is_inside() && !conversation.is_of_program();
    if (arrivals.size() == (is_of_container ? NK_ARRIVALS_INSIDE : NK_ARRIVALS)) {
        const auto oldest = owners_.find(arrivals.front());
        arrivals.pop_front();
        if (oldest != owners_.end() && conversations_.at(oldest->second).is_arriving) {
            forget(Conversation(oldest->second));
        }
    }
    arrivals.push_back(latest);
}

void NatModel::begin_arrival(const Conversation& conversation, std::uint16_t port, const Sent& sent) {
    State& state = begin(conversation, port);
    state.is_inbound = state.is_arriving = true;
    state.remote_ended = sent.fin;
    counts_[conversation.container]--;
}

bool NatModel::has_lost_its_port(const Conversation& conversation) const {
    const State& state = *find(conversation);
    const PublishedPort* published = published_.at(conversation.protocol, conversation.is_ipv6(), state.port);
    if (published == nullptr) {
        return state.is_inbound;
    }
    return state.stale || published->container != conversation.container;
}

void NatModel::note_client_sent(const Conversation& conversation, const Sent& sent) {
    State& state = conversations_.at(conversation);
    // Without connections, who sends again after he was answered has an address of his own.
    if (state.answered && sent.protocol != IPPROTO_TCP) {
        take_up(conversation);
    }
    if (sent.rst) {
        state.remote_reset = state.remote_reset || sent.protocol == IPPROTO_TCP;
    } else if (begins_a_connection(sent) && state.closed()) {
        state = {.port = state.port, .is_inbound = true, .is_arriving = state.is_arriving};
    } else if (sent.fin && !sent.syn) {
        state.remote_ended = true;
    }
}

void NatModel::note_container_sent(const Conversation& conversation, const Sent& sent) {
    State& state = conversations_.at(conversation);
    state.reset = state.reset || sent.rst;
    state.answered = state.answered || !sent.rst;
    state.container_ended = state.container_ended || (sent.fin && !sent.syn && !sent.rst);
    // A stack sends such a one for a connection alone.
    if (sent.protocol == IPPROTO_TCP && !sent.syn && !sent.rst) {
        take_up(conversation);
    }
}

void NatModel::take_up(const Conversation& conversation) {
    State& state = conversations_.at(conversation);
    // Without connections, who seems to come again may have forged it: those get half of the share.
    if (state.is_arriving && !is_refused(conversation, conversation.protocol == IPPROTO_TCP ? 1 : 2)) {
        state.is_arriving = false;
        counts_[conversation.container]++;
    }
}

const PublishedPort* NatModel::face_of_datagrams(const Conversation& conversation) const {
    return conversation.protocol == IPPROTO_UDP
               ? published_.face_of(conversation.protocol, conversation.container, conversation.port)
               : nullptr;
}

bool NatModel::is_of_a_lost_arrival(const Conversation& conversation, const Sent& sent) const {
    return conversation.protocol != IPPROTO_UDP && !begins_a_connection(sent) &&
           published_.face_of(conversation.protocol, conversation.container, conversation.port) != nullptr;
}

}  // namespace netkitd::test
