#include "bpf/nat_world.h"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/format.h"

namespace netkitd::test {
namespace {

using enum Step::Kind;

Step random_step(Random& random, std::size_t conversations) {
    constexpr std::array<std::pair<Step::Kind, std::size_t>, 16> kTenThousandths{{{out, 4140},
                                                                                  {in, 3160},
                                                                                  {stray, 300},
                                                                                  {error_out, 500},
                                                                                  {error_in, 500},
                                                                                  {stray_error, 100},
                                                                                  {fragment_out, 420},
                                                                                  {fragment_in, 375},
                                                                                  {host, 100},
                                                                                  {forget, 150},
                                                                                  {replace, 20},
                                                                                  {publish, 50},
                                                                                  {take_back, 30},
                                                                                  {flood, 20},
                                                                                  {change, 130},
                                                                                  {wait, 5}}};
    std::size_t left = random.below(10'000);
    Step step{.conversation = random.below(conversations), .seed = random.next()};
    for (const auto& [kind, weight] : kTenThousandths) {
        step.kind = kind;
        if (left < weight) {
            break;
        }
        left -= weight;
    }
    return step;
}

// The fragments of one packet, in the order in which they travel.
std::vector<Step> fragments(Random& random, Step step) {
    step.pieces = random.percent(5) ? 1 : 2 + random.below(4);
    std::vector<Step> steps;
    for (; step.piece < step.pieces; step.piece++) {
        steps.push_back(step);
    }
    if (random.percent(20)) {
        std::ranges::reverse(steps);
    } else if (random.percent(30)) {
        for (std::size_t i = 1; i < steps.size(); i++) {
            std::swap(steps[i], steps[random.below(i + 1)]);
        }
    }
    return steps;
}

std::string remote_address(std::size_t number, bool ipv6) {
    return formatted("{}{}", ipv6 ? "2001:db8:51::" : "198.51.100.", number + 1);
}

PublishedPort random_published_port(Random& random, const NatModel::Options& pool) {
    constexpr std::size_t kPublishers = 3;  // so few that ports go from one to another, and lead to one by two ways
    const std::array<std::uint16_t, 2> outside{80, 8080};
    const std::array<std::uint16_t, 2> of_pool{static_cast<std::uint16_t>((pool.port_first + pool.port_last) / 2),
                                               pool.port_last};
    PublishedPort published{.protocol = random.of(std::array<std::uint8_t, 5>{IPPROTO_TCP, IPPROTO_TCP, IPPROTO_UDP,
                                                                              IPPROTO_UDP, IPPROTO_SCTP}),
                            .port = random.of(random.percent(70) ? outside : of_pool),
                            .container = address_of(random.below(kPublishers), random.percent(50)),
                            .container_port = random.of(std::array<std::uint16_t, 2>{80, 5060})};
    if (published.protocol == IPPROTO_SCTP) {
        published.container_port = published.port;
    }
    if (random.percent(10)) {
        published.allowed = remote_address(random.below(2), published.is_ipv6());
    }
    return published;
}

// The client mostly begins it: who is outside, another container of this host, or a program of the host's own.
Conversation random_client(Random& random, std::size_t remotes, const PublishedPort& to) {
    const std::size_t other = container_of(to.container) + 1 + random.below(kContainers - 1);
    const bool is_inside = random.percent(20);
    if (is_inside && to.protocol != IPPROTO_SCTP && random.percent(20)) {
        // From no port that may be published: a container could be the client then. (SCTP is refused to a veth.)
        return {.protocol = to.protocol,
                .container = to.container,
                .port = to.container_port,
                .remote = to.is_ipv6() ? "2001:db8:113::2" : "203.0.113.2",
                .remote_port = random.of(std::array<std::uint16_t, 3>{443, 4443, 4444})};
    }
    return {.protocol = to.protocol,
            .container = to.container,
            .port = to.container_port,
            .remote = is_inside ? address_of(other % kContainers, to.is_ipv6())
                                : remote_address(random.below(remotes), to.is_ipv6()),
            .remote_port = random.of(std::array<std::uint16_t, 3>{443, 50000, 50001})};
}

// What is under way: some of each packet's fragments.
class Network {
public:
    void send(std::vector<Step> steps) {
        std::ranges::reverse(steps);
        packets_.push_back(std::move(steps));
    }
    [[nodiscard]] bool is_empty() const { return packets_.empty(); }
    // The next fragment of one of them.
    [[nodiscard]] Step arrive(Random& random) {
        const std::size_t which = random.below(packets_.size());
        const Step step = packets_[which].back();
        packets_[which].pop_back();
        if (packets_[which].empty()) {
            packets_.erase(packets_.begin() + static_cast<std::ptrdiff_t>(which));
        }
        return step;
    }

private:
    std::vector<std::vector<Step>> packets_;
};

}  // namespace

std::string address_of(std::size_t container, bool ipv6) {
    return formatted("{}{}", ipv6 ? "2001:db8:77::" : "10.77.0.", container + 2);
}

std::size_t container_of(const std::string& address) {
    return static_cast<std::size_t>(address.back() - '2');
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
                   .remote = remote_address(random.below(remotes), v6)};
    const bool has_port = c.protocol != IPPROTO_ICMP && c.protocol != IPPROTO_ICMPV6;
    c.remote_port = has_port ? narrow ? 443 : random.of(std::array<std::uint16_t, 4>{53, 80, 443, 50000}) : 0;
    return c;
}

Conversation random_stranger(Random& random, const PublishedPort& to) {
    return {.protocol = to.protocol,
            .container = to.container,
            .port = to.container_port,
            .remote = remote_address(random.below(5), to.is_ipv6()),
            .remote_port = static_cast<std::uint16_t>(random.next() | 1)};
}

World random_world(Random& random, std::size_t number, std::size_t steps) {
    World world;
    // The whole pool, one that is soon used up (the first one in a short run too), or one in which a free port has to
    // be found.
    const std::size_t kind = number % 3;
    const std::size_t small = random.below(number == 1 ? 8 : 31) + 1;
    const std::size_t size = kind == 0 ? 16384 : kind == 1 ? small : 64;
    const std::uint16_t first = kind == 0 ? 49152 : 50000;
    world.options = {.port_first = first, .port_last = static_cast<std::uint16_t>(first + size - 1)};
    const std::size_t remotes = kind == 0 ? 5 : 1;
    for (int i = 0; i < 20; i++) {
        world.published.push_back(random_published_port(random, world.options));
    }
    for (int i = 0; i < 300; i++) {
        world.conversations.push_back(i % 5 < 2 ? random_client(random, remotes, random.of(world.published))
                                                : random_conversation(random, remotes, kind != 0, world.options));
    }
    Network network;
    while (world.steps.size() < steps) {
        const Step step = !network.is_empty() && random.percent(40) ? network.arrive(random)
                                                                    : random_step(random, world.conversations.size());
        const bool is_cut = step.kind == fragment_out || step.kind == fragment_in;
        if (is_cut && step.pieces == 0) {
            network.send(fragments(random, step));
        } else {
            world.steps.push_back(step);
        }
    }
    return world;
}

}  // namespace netkitd::test
