// Plays worlds (nat_world.h) on a node: each packet goes through the programs, and what became of it to the model.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bpf/nat_model.h"
#include "bpf/nat_world.h"
#include "harness/netns.h"
#include "harness/prog_run.h"

namespace netkitd::test {

class WorldPlayer {
public:
    // Makes devices for the containers in `home`, where the node lives.
    WorldPlayer(const NetworkNamespace& home, const TestNode& node, const TestNode::Options& options);

    struct Failure {
        std::size_t step = 0;
        std::string what;
    };
    // From an empty node on; what is wrong with the first step that is. `trace` gets all packets as text.
    [[nodiscard]] std::optional<Failure> play(const World& world, std::string* trace = nullptr);
    // Packets that came out translated, by their kind.
    [[nodiscard]] const std::map<std::string, std::uint64_t>& translated() const { return translated_; }

private:
    void make_devices(const NetworkNamespace& home);
    [[nodiscard]] std::string check_table() const;
    // What is wrong with what became of it, each.
    std::string take(const Conversation& c, const Step& step);
    std::string send(const Conversation& c, std::uint64_t seed);
    std::string receive(const Conversation& c, std::uint16_t port, std::uint64_t seed);
    std::string receive_as(std::string kind, const Conversation& c, std::uint16_t port, std::uint64_t seed);
    std::string receive_flood(std::uint64_t seed);
    std::string send_fragment(Conversation c, const Step& step);
    std::string receive_fragment(Conversation c, std::uint16_t port, const Step& step);
    std::string send_error(const Conversation& c, std::uint64_t seed);
    std::string receive_error(const Conversation& c, std::uint16_t port, std::uint64_t seed);
    // From a port of the node, by the host, and the answer.
    std::string send_by_host(const Conversation& of, std::uint16_t port, std::uint64_t seed);
    // Whatever else happens.
    void happen(const Conversation& c, const Step& step);
    void replace(std::size_t container, Random& random);
    void publish(const PublishedPort& published);
    void take_back(const PublishedPort& published);
    [[nodiscard]] datapath::Frontend frontend_of(const PublishedPort& published) const;
    // Those of the container, taken back.
    [[nodiscard]] std::vector<PublishedPort> end_ports(std::size_t container);
    // Where the remote sends to, if it goes on, or begins; nothing if it can't do either.
    [[nodiscard]] std::optional<std::uint16_t> port_to(const Conversation& c, std::uint64_t seed) const;
    [[nodiscard]] std::uint16_t any_port(std::uint64_t seed) const;
    [[nodiscard]] std::string kind_of(const Conversation& c, const char* direction) const;

    struct Way {
        Program program{};
        std::uint32_t ifindex = 0;
        std::string kind;  // of the packet
    };
    [[nodiscard]] Way way_out(const Conversation& c, std::string kind) const;
    [[nodiscard]] Way way_in(std::string kind) const;
    using Judge = std::function<std::string(const Seen&)>;
    std::string run(const Way& way, const Sent& sent, Random& random, const Judge& judge);
    // The same of an ICMP error, which changes nothing about its flow.
    std::string run_error(const Conversation& c, const Way& way, const Sent& sent, Random& random, const Judge& judge);
    // The drops that were counted since it was asked last.
    [[nodiscard]] std::string new_drops();
    void note(const Conversation& c, const char* what) const;
    void note(const PublishedPort& published, const char* what) const;

    const TestNode& node_;
    TestNode::Options options_;
    std::uint32_t eth0_ = 0;
    std::vector<std::string> devices_;
    bool sums_whole_packets_ = false;
    std::map<std::string, std::uint64_t> translated_;

    // Of the world that is played.
    NatModel model_{{}};
    const World* world_ = nullptr;
    // Without room, the clock decides when a container takes up datagrams (bpf/lib/nat/fast.h).
    bool has_room_for_all_ = true;
    std::string* trace_ = nullptr;
    std::size_t used_devices_ = 0;
    struct Place {
        std::uint32_t ifindex = 0;
        std::uint32_t id = 0;  // of the endpoint
    };
    std::array<Place, kContainers> places_{};
    std::uint32_t next_id_ = 100;
    Bytes seen_;
    std::map<std::string, std::uint64_t> counted_;
};

}  // namespace netkitd::test
