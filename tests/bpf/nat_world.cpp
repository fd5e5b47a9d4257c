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
    constexpr std::array<std::pair<Step::Kind, std::size_t>, 13> kTenThousandths{{{out, 4200},
                                                                                  {in, 3200},
                                                                                  {stray, 300},
                                                                                  {error_out, 500},
                                                                                  {error_in, 500},
                                                                                  {stray_error, 100},
                                                                                  {fragment_out, 420},
                                                                                  {fragment_in, 375},
                                                                                  {host, 100},
                                                                                  {forget, 150},
                                                                                  {replace, 20},
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
                   .remote = formatted("{}{}", v6 ? "2001:db8:51::" : "198.51.100.", random.below(remotes) + 1)};
    const bool has_port = c.protocol != IPPROTO_ICMP && c.protocol != IPPROTO_ICMPV6;
    c.remote_port = has_port ? narrow ? 443 : random.of(std::array<std::uint16_t, 4>{53, 80, 443, 50000}) : 0;
    return c;
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
    for (int i = 0; i < 300; i++) {
        world.conversations.push_back(random_conversation(random, remotes, kind != 0, world.options));
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
