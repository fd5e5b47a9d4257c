// Random worlds: what happens on one node, with six containers, the ports that some of them publish, and the
// conversations that they have.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bpf/nat_model.h"
#include "bpf/random.h"

namespace netkitd::test {

constexpr std::size_t kContainers = 6;

[[nodiscard]] std::string address_of(std::size_t container, bool ipv6);
[[nodiscard]] std::size_t container_of(const std::string& address);

struct Step {
    enum class Kind {
        out,           // the container sends
        in,            // the remote answers
        stray,         // the remote sends to some port of the node
        error_out,     // the container complains of what the remote sent
        error_in,      // a router or the remote complains of what the container sent
        stray_error,   // or of what some port of the node sent
        fragment_out,  // a part of what the container sends
        fragment_in,   // a part of the remote's answer
        host,          // the host sends from the conversation's port, or from any, and is answered
        forget,        // the daemon cleans the conversation up
        replace,       // the container goes, and another gets its address, and most of its published ports
        publish,       // some port leads to some container from now on, perhaps to another one than before
        take_back,     // or no more
        flood,         // strangers send to published ports, a hundred packets
        change,        // something of the host's network changes
        wait,          // so long that fragments of one packet can't be so far apart
    } kind{};
    std::size_t conversation = 0;
    std::uint64_t seed = 0;  // of the packet's details
    std::size_t piece = 0;   // which fragment of that packet
    std::size_t pieces = 0;
};

struct World {
    NatModel::Options options;
    std::vector<Conversation> conversations;
    std::vector<PublishedPort> published;  // at some time; some of them can't be there both
    std::vector<Step> steps;
};

// `narrow`: all to one port.
[[nodiscard]] Conversation random_conversation(Random& random, std::size_t remotes, bool narrow,
                                               const NatModel::Options& pool);
// Somebody outside who sends to a published port, whom it has not seen before as a rule.
[[nodiscard]] Conversation random_stranger(Random& random, const PublishedPort& to);
// The `number`-th: their kinds take turns.
[[nodiscard]] World random_world(Random& random, std::size_t number, std::size_t steps);

}  // namespace netkitd::test
