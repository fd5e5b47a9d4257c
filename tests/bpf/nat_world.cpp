#include "bpf/nat_world.h"

#include <netinet/in.h>

#include <array>
#include <format>
#include <utility>

namespace netkitd::test {
namespace {

Step random_step(Random& random, std::size_t conversations) {
    using enum Step::Kind;
    constexpr std::array<std::pair<Step::Kind, std::size_t>, 9> kThousandths{{{out, 480},
                                                                              {in, 350},
                                                                              {stray, 30},
                                                                              {error_out, 50},
                                                                              {error_in, 50},
                                                                              {stray_error, 10},
                                                                              {forget, 15},
                                                                              {replace, 2},
                                                                              {change, 13}}};
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

}  // namespace

std::string address_of(std::size_t container, bool ipv6) {
    return std::format("{}{}", ipv6 ? "2001:db8:77::" : "10.77.0.", container + 2);
}

std::size_t container_of(const Conversation& c) {
    return static_cast<std::size_t>(c.container.back() - '2');
}

Conversation random_conversation(Random& random, std::size_t remotes, bool narrow, const NatModel::Options& pool) {
    const bool v6 = random.percent(50);
    const auto icmp = static_cast<std::uint8_t>(v6 ? int{IPPROTO_ICMPV6} : int{IPPROTO_ICMP});
    const std::array<std::uint8_t, 9> protocols{IPPROTO_TCP,  IPPROTO_TCP,  IPPROTO_UDP, IPPROTO_UDP, IPPROTO_UDPLITE,
                                                IPPROTO_SCTP, IPPROTO_SCTP, icmp,        icmp};
    const auto first = pool.port_first;
    const auto of_pool = static_cast<std::uint16_t>(first + random.below(pool.port_last - first + 1U));
    const std::array<std::uint16_t, 7> ports{1000,  49152,   50000,  static_cast<std::uint16_t>(random.next() | 1),
                                             first, of_pool, of_pool};
    Conversation c{.protocol = random.of(protocols),
                   .container = address_of(random.below(kContainers), v6),
                   .port = random.of(ports),
                   .remote = std::format("{}{}", v6 ? "2001:db8:51::" : "198.51.100.", random.below(remotes) + 1)};
    const bool has_port = c.protocol != IPPROTO_ICMP && c.protocol != IPPROTO_ICMPV6;
    c.remote_port = has_port ? narrow ? 443 : random.of(std::array<std::uint16_t, 4>{53, 80, 443, 50000}) : 0;
    return c;
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
        world.conversations.push_back(random_conversation(random, remotes, kind != 0, world.options));
    }
    for (std::size_t i = 0; i < steps; i++) {
        world.steps.push_back(random_step(random, world.conversations.size()));
    }
    return world;
}

}  // namespace netkitd::test
