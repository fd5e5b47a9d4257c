// The fuzzers' functions with inputs made by a fixed sequence of random mutations: the same in every run, with every
// compiler. The open-ended search is libFuzzer's (CMakeLists.txt).
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <random>
#include <string>

#include "fuzz/inputs.h"

namespace netkitd::fuzz {
namespace {

constexpr int kMutatedInputs = 20'000;

class Mutator {
public:
    // Between one and eight changes, each of which a careless or hostile sender could make.
    std::string mutate(std::string text, std::string_view other) {
        for (unsigned changes = below(8) + 1; changes > 0; --changes) {
            change(text, other);
        }
        return text;
    }
    unsigned below(std::size_t limit) {
        return static_cast<unsigned>(std::uniform_int_distribution<std::size_t>(0, limit - 1)(random_));
    }

private:
    void change(std::string& text, std::string_view other) {
        constexpr std::array<std::string_view, 18> kTokens{"{",
                                                           "}",
                                                           "[",
                                                           "]",
                                                           ":",
                                                           ",",
                                                           "\"",
                                                           "\\u0000",
                                                           "\\ud800",
                                                           "null",
                                                           "true",
                                                           "-1e999",
                                                           "{\"a\":",
                                                           "\xff",
                                                           "\xc0\xaf",
                                                           "1.5",
                                                           "18446744073709551616",
                                                           "\"id\":\"x\","};
        const std::size_t at = below(text.size() + 1);
        switch (below(7)) {
            case 0:
                text.insert(at, kTokens.at(below(kTokens.size())));
                break;
            case 1:
                text.erase(at, below(16) + 1);
                break;
            case 2:
                text.resize(at);
                break;
            case 3:
                text.insert(at, other.substr(below(other.size())));
                break;
            case 4:
                text.insert(at, text.substr(at, below(64)));
                break;
            case 5:
                text.insert(at, below(200), kTokens.at(below(4)).front());
                break;
            default:
                if (at < text.size()) {
                    text.at(at) = static_cast<char>(below(256));
                }
        }
    }

    std::mt19937 random_{20'240'101};  // NOLINT: the same inputs in every run are what is wanted
};

void run(const std::vector<std::string_view>& seeds, const std::function<void(std::string_view)>& parse) {
    Mutator mutator;
    for (const std::string_view seed : seeds) {
        parse(seed);
    }
    for (int i = 0; i < kMutatedInputs; ++i) {
        const std::string seed(seeds.at(mutator.below(seeds.size())));
        parse(mutator.mutate(seed, seeds.at(mutator.below(seeds.size()))));
    }
}

TEST(Mutation, RequestsAreReadOrRefused) {
    run(request_seeds(), fuzz_request);
}
TEST(Mutation, RepliesAreReadOrRefused) {
    run(reply_seeds(), fuzz_reply);
}
TEST(Mutation, OciStatesAreReadOrRefused) {
    run(oci_state_seeds(), fuzz_oci_state);
}

}  // namespace
}  // namespace netkitd::fuzz
