#include "endpoint/homes.h"

#include <algorithm>
#include <ranges>
#include <tuple>

#include "abi.h"

namespace netkitd {

std::uint32_t Homes::take(const std::string& container_id, const PortRange& pool) {
    const std::uint32_t ports = std::uint32_t{pool.last} - pool.first + 1;
    const std::size_t count = std::max<std::size_t>(NK_POOL_HOMES(ports), 1);
    homes_.resize(std::max(homes_.size(), count));
    // Of a pool that was larger, a home is one of these now.
    std::vector<std::uint32_t> endpoints(count);
    for (std::size_t i = 0; i < homes_.size(); ++i) {
        endpoints[i % count] += homes_[i].endpoints;
    }
    const auto rank = [&](std::size_t i) {
        const Home& home = homes_[i];
        const bool its_own = home.container == container_id;
        return std::tuple(endpoints[i], !its_own, its_own ? -home.given_back : home.given_back);
    };
    const std::size_t best = std::ranges::min(std::views::iota(std::size_t{0}, count), {}, rank);
    ++homes_[best].endpoints;
    homes_[best].container = container_id;
    return static_cast<std::uint32_t>(best);
}

void Homes::hold(std::uint32_t home, const std::string& container_id) {
    ++at(home).endpoints;
    at(home).container = container_id;
}

void Homes::give_back(std::uint32_t home) {
    Home& given = at(home);
    given.endpoints -= std::min(given.endpoints, 1U);
    given.given_back = ++given_back_;
}

// As the database has it, it may be any number.
Homes::Home& Homes::at(std::uint32_t home) {
    constexpr std::uint32_t kMost = NK_POOL_HOMES(65536);
    homes_.resize(std::max<std::size_t>(homes_.size(), home % kMost + 1));
    return homes_[home % kMost];
}

}  // namespace netkitd
