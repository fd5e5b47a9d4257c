// Random numbers that come again with their seed, and what the environment says about a run of random packets:
// NETKITD_SEED=N repeats one, NETKITD_PACKETS=N makes it longer or shorter, NETKITD_SHORT=1 short.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <random>

namespace netkitd::test {

// splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    std::size_t below(std::size_t bound) { return next() % bound; }
    bool percent(std::size_t chance) { return below(100) < chance; }
    template <typename Range>
    const auto& of(const Range& range) {
        return range[below(std::size(range))];
    }

private:
    std::uint64_t state_;
};

[[nodiscard]] inline std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

[[nodiscard]] inline std::uint64_t packets_to_run() {
    const bool is_short = std::getenv("NETKITD_SHORT") != nullptr;
    return number_from_environment("NETKITD_PACKETS", is_short ? 40'000 : 1'040'000);
}

// Says which one it is.
[[nodiscard]] inline std::uint64_t seed_of_this_run() {
    const std::uint64_t seed = number_from_environment("NETKITD_SEED", std::random_device{}());
    std::printf("[ seed   ] NETKITD_SEED=%lu\n", seed);
    return seed;
}

}  // namespace netkitd::test
