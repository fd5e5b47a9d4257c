#include "endpoint/homes.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <tuple>

#include "abi.h"

namespace netkitd {

std::uint32_t Homes::take(const std::string& container_id, const PortRange& pool) {
    const std::uint32_t ports = std::uint32_t{pool.last} - pool.first + 1;
    const std::size_t count = std::max<std::size_t>(NK_POOL_HOMES(ports), 1);
    homes_.resize(std::max(homes_.size(), count));
    const std::span<Home> there(homes_.data(), count);
    const auto its_own = [&](const Home& home) { return home.last_container == container_id; };
    const auto rank = [&](const Home& home) {
        return std::tuple(home.endpoints, !its_own(home), its_own(home) ? -home.given_back : home.given_back);
    };
    const auto best = std::ranges::min_element(there, {}, rank);
    ++best->endpoints;
    return static_cast<std::uint32_t>(std::distance(there.begin(), best));
}

void Homes::hold(std::uint32_t home) {
    ++at(home).endpoints;
}

void Homes::give_back(std::uint32_t home, const std::string& container_id) {
    Home& given = at(home);
    given.endpoints -= std::min(given.endpoints, 1U);
    given.given_back = ++given_back_;
    given.last_container = container_id;
}

// As the database has it, it may be any number.
Homes::Home& Homes::at(std::uint32_t home) {
    constexpr std::uint32_t kMost = NK_POOL_HOMES(65536);
    homes_.resize(std::max<std::size_t>(homes_.size(), home % kMost + 1));
    return homes_[home % kMost];
}

}  // namespace netkitd
