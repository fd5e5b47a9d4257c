// What a masquerading NAT promises, as plainly as it can be said: the reference that the programs are compared with.
//
// It knows conversations and their ports, and nothing of maps, stages, short ways or incremental checksums: what a
// packet is to become is the same packet built anew, from its fields. Where the programs may choose (which free port),
// it judges the choice and takes it over. A protocol is added by giving it a place for its port in Sent (nat_sent.h)
// and in the Packet that it is built by. A fragment is to become the same part of what the whole packet becomes.
// Conversations that somebody outside begins, to a published port, are in nat_arrivals.cpp.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>

#include "bpf/nat_published.h"
#include "bpf/nat_sent.h"
#include "harness/packet.h"
#include "harness/prog_run.h"

namespace netkitd::test {

// As the container sees it. ICMP echo: `port` is the id, `remote_port` 0.
struct Conversation {
    std::uint8_t protocol = 0;
    std::string container;
    std::uint16_t port = 0;
    std::string remote;
    std::uint16_t remote_port = 0;
    auto operator<=>(const Conversation&) const = default;
    [[nodiscard]] bool is_ipv6() const { return remote.contains(':'); }
    // With a program of the host's own, which comes to a published port by the node's address, that it has itself.
    [[nodiscard]] bool is_of_program() const { return remote == (is_ipv6() ? "2001:db8:113::2" : "203.0.113.2"); }
    // With that, or another container of this host.
    [[nodiscard]] bool is_inside() const {
        return is_of_program() || remote.starts_with(is_ipv6() ? "2001:db8:77::" : "10.77.0.");
    }
};
[[nodiscard]] std::string to_string(const Conversation& conversation);

// What became of it.
struct Seen {
    Verdict verdict{};
    std::string drop = {};  // the reason's name
    std::span<const std::uint8_t> frame = {};
};

class NatModel {
public:
    struct Options {
        std::uint16_t port_first = 0;
        std::uint16_t port_last = 0;
        // How large the table is, and how it is shared out, of each family (netd/datapath/flow_capacity.h).
        std::size_t entries = 1'000'000'000;
        std::size_t share = 1'000'000;
        std::size_t common = 0;
        std::string node4 = "203.0.113.2";
        std::string node6 = "2001:db8:113::2";
        // As whom a container sees itself, by a port of its own.
        std::string gateway4 = "10.77.0.1";
        std::string gateway6 = "2001:db8:77::1";
    };
    explicit NatModel(Options options) : options_(std::move(options)) {}

    // What is wrong with what became of a packet (or fragment) that the container sent, or of one from the remote to a
    // port of the node. Empty: nothing is. Of what is inside, there are no fragments and no errors here.
    [[nodiscard]] std::string out(const Conversation& conversation, const Sent& sent, const Seen& seen);
    [[nodiscard]] std::string in(const Conversation& conversation, std::uint16_t port, const Sent& sent,
                                 const Seen& seen);

    // The same of what the host itself sends from a port of its own, in which it is the container.
    [[nodiscard]] std::string host_out(const Conversation& conversation, const Sent& sent, const Seen& seen);

    // The same of ICMP errors: the container's about what it got from the remote, and somebody's about what left the
    // node from a port. They change nothing about the conversation.
    [[nodiscard]] std::string error_out(const Conversation& conversation, const SentError& error,
                                        const Seen& seen) const;
    [[nodiscard]] std::string error_in(const Conversation& conversation, std::uint16_t port, const SentError& error,
                                       const Seen& seen) const;

    // The daemon forgot the conversation; the container was replaced by another one with its address.
    void forget(const Conversation& conversation);
    void replace(const std::string& container);
    // From now on this port leads there, or nowhere.
    void publish(const PublishedPort& port) { published_.put(port); }
    void take_back(const PublishedPort& port) { published_.take_back(port); }
    [[nodiscard]] const PublishedPorts& published() const { return published_; }
    // More time goes by than the fragments of one packet may be apart.
    void forget_fragments() { translated_fragments_.clear(); }

    struct State {
        std::uint16_t port = 0;  // of the node
        // Of a connection whose container is gone, and whose address and port another one has: what it is to be known
        // by here. Its port stays taken.
        bool left_over = false;
        bool began = false;  // the container has sent a SYN: an answer is one, too
        // Somebody outside began it, and the container has done no more than answer: it is not counted, and the oldest
        // of its like gives way.
        bool is_inbound = false;
        bool is_arriving = false;
        bool answered = false;
        bool stale = false;            // of a container that is gone
        std::uint32_t answer = 0;      // of the host's that answer somebody: its number among those
        bool is_asked = false;         // among those that somebody has only begun
        bool container_ended = false;  // by a FIN
        bool remote_ended = false;
        bool reset = false;         // by the container
        bool remote_reset = false;  // so it seems: anybody can send that
        [[nodiscard]] bool closed() const { return reset || remote_reset || (container_ended && remote_ended); }
    };
    [[nodiscard]] const State* find(const Conversation& conversation) const;
    // Its container is the host.
    [[nodiscard]] bool is_hosts(const Conversation& conversation) const {
        return conversation.container == node(conversation);
    }
    [[nodiscard]] const std::string& node(const Conversation& conversation) const {
        return conversation.is_ipv6() ? options_.node6 : options_.node4;
    }
    [[nodiscard]] const std::string& gateway(const Conversation& conversation) const {
        return conversation.is_ipv6() ? options_.gateway6 : options_.gateway4;
    }
    [[nodiscard]] const std::map<Conversation, State>& conversations() const { return conversations_; }
    // Who has that port of the node towards that remote.
    [[nodiscard]] std::optional<Conversation> target(const Conversation& conversation, std::uint16_t port) const;
    // How many conversations of each container are counted.
    [[nodiscard]] const std::map<std::string, std::size_t>& counts() const { return counts_; }
    // How many the flow table has of it.
    [[nodiscard]] int entries_of(const Conversation& conversation) const;

private:
    // What the outside sees: a protocol, a remote, and a port of the node.
    struct Outside {
        std::uint8_t protocol = 0;
        std::string remote;
        std::uint16_t remote_port = 0;
        std::uint16_t port = 0;
        auto operator<=>(const Outside&) const = default;
    };
    [[nodiscard]] static Outside outside(const Conversation& conversation, std::uint16_t port) {
        return {conversation.protocol, conversation.remote, conversation.remote_port, port};
    }
    // What all fragments of a packet have in common (RFC 791, 3.2; RFC 8200, 4.5: there it is not the protocol).
    struct Fragments {
        bool out = false;
        std::string container;  // in: the node
        std::string remote;
        std::uint32_t id = 0;
        std::uint8_t protocol = 0;
        auto operator<=>(const Fragments&) const = default;
    };
    // What the first one of them became.
    struct Translated {
        std::string address;
        std::uint32_t id = 0;
    };
    [[nodiscard]] Fragments fragments(const Conversation& conversation, const Sent& sent, bool out) const;
    // `translated`: what the whole packet becomes. An IPv4 one gets an identification that no other packet has.
    [[nodiscard]] std::string first_out(const Conversation& conversation, const Packet& translated, const Sent& sent,
                                        const Seen& seen);
    [[nodiscard]] std::string later_out(const Conversation& conversation, const Sent& sent, const Seen& seen) const;
    [[nodiscard]] std::string later_in(const Conversation& conversation, const Sent& sent, const Seen& seen) const;
    [[nodiscard]] bool in_pool(std::uint16_t port) const {
        return port >= options_.port_first && port <= options_.port_last;
    }
    // A port that any container may have; others of the pool are of one's home.
    [[nodiscard]] bool is_common(std::uint16_t port) const {
        const int ports = options_.port_last - options_.port_first + 1;
        return in_pool(port) && port <= options_.port_last - NK_POOL_HOMES(ports) * NK_HOME_PORTS;
    }
    // Whether a packet to that port of the node may be a container's at all: to one of the pool, an answer.
    [[nodiscard]] bool may_be_containers(const Conversation& conversation, std::uint16_t port) const {
        return (in_pool(port) && !conversation.is_inside()) ||
               published_.at(conversation.protocol, conversation.is_ipv6(), port) != nullptr;
    }
    // To a client that is a container of this host.
    [[nodiscard]] std::string in_of_program(const Conversation& conversation, std::uint16_t port, const Sent& sent,
                                            const Seen& seen);
    [[nodiscard]] std::string out_to_program(const Conversation& conversation, const Sent& sent, const Seen& seen);
    [[nodiscard]] std::string out_to_client(const Conversation& conversation, const Sent& sent, const Seen& seen);
    // Nothing if it was delivered, as it should be.
    [[nodiscard]] std::optional<std::string> judge_undelivered(const std::optional<Conversation>& to, const Sent& sent,
                                                               const Seen& seen) const;
    // Whether the container has so many conversations that it gets no new one. `places`: what each of them counts for.
    [[nodiscard]] bool is_refused(const Conversation& conversation, std::size_t places = 1) const;
    [[nodiscard]] std::string judge_refusal(const Conversation& conversation, const Seen& seen) const;
    [[nodiscard]] std::string judge_refused_port(const Conversation& conversation, const Seen& seen) const;
    [[nodiscard]] std::string judge_port(const Conversation& conversation, std::uint16_t port) const;
    // That of a new conversation.
    [[nodiscard]] std::string judge_new_port(const Conversation& conversation, std::uint16_t port) const;
    // How many ports of the pool nobody gets towards that remote.
    [[nodiscard]] int taken_ports(const Conversation& conversation) const;
    State& begin(const Conversation& conversation, std::uint16_t port);
    // One that answers somebody; the oldest of those gives way.
    void begin_answer(const Conversation& conversation, bool is_asked);

    // Of a packet from outside: to whom it goes (nobody: to the host), or why it is dropped.
    struct Arrival {
        std::optional<Conversation> to = std::nullopt;
        std::string drop = {};
    };
    [[nodiscard]] Arrival arrive(const Conversation& conversation, std::uint16_t port, const Sent& sent);
    // To the container behind a published port, where no conversation says otherwise.
    [[nodiscard]] Arrival arrive_at(const PublishedPort& published, const Conversation& conversation, const Sent& sent);
    void begin_arrival(const Conversation& conversation, std::uint16_t port, const Sent& sent);
    void make_room_for_arrival(const Conversation& conversation, const Outside& latest);
    // Whether its port is its container's no more: it was begun from outside by what was published, or another one
    // publishes it by now.
    [[nodiscard]] bool has_lost_its_port(const Conversation& conversation) const;
    // A packet of a conversation that was begun from outside.
    void note_client_sent(const Conversation& conversation, const Sent& sent);
    void note_container_sent(const Conversation& conversation, const Sent& sent);
    void take_up(const Conversation& conversation);
    // The published port that the container's datagrams have to leave from; NULL: from any, or it is no datagram.
    [[nodiscard]] const PublishedPort* face_of_datagrams(const Conversation& conversation) const;
    // Whether only who began it outside can say what it is to become.
    [[nodiscard]] bool is_of_a_lost_arrival(const Conversation& conversation, const Sent& sent) const;

    // Whether the table has no room for so many more.
    [[nodiscard]] bool is_full(const Conversation& conversation, std::size_t more) const {
        return entries(conversation) + more > options_.entries;
    }
    // Another container has begun the same connection.
    void leave_over(const Conversation& conversation);

    Options options_;
    std::map<Conversation, State> conversations_;
    std::map<Outside, Conversation> owners_;     // of the ports
    std::map<std::string, std::size_t> counts_;  // conversations of each container that is there
    std::size_t entries4_ = 0;                   // of all, those of containers that are gone too
    std::size_t entries6_ = 0;
    [[nodiscard]] std::size_t entries(const Conversation& conversation) const {
        return conversation.is_ipv6() ? entries6_ : entries4_;
    }
    void count_entries(const Conversation& conversation, int change) {
        (conversation.is_ipv6() ? entries6_ : entries4_) += static_cast<std::size_t>(change);
    }
    std::size_t left_over_ = 0;  // ever
    struct Answers {
        std::deque<std::pair<Conversation, std::uint32_t>> latest;  // with their numbers
        std::uint32_t begun = 0;
    };
    std::array<Answers, 2> answers_;  // of the host's: those that go on, and those that somebody has only begun
    PublishedPorts published_;
    std::map<std::string, std::deque<Outside>> arrivals_;  // the latest, by the client if it is a container
    std::map<Fragments, Translated> translated_fragments_;
    std::set<std::pair<std::string, std::uint32_t>> fragment_ids_;  // of IPv4, that the node gave, by destination
};

}  // namespace netkitd::test
