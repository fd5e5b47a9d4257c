// The words of a text: what stands between spaces, tabs and line ends.
#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

namespace netkitd {

[[nodiscard]] inline std::vector<std::string_view> words_of(std::string_view text) {
    constexpr std::string_view kBlanks = " \t\r\n";
    std::vector<std::string_view> words;
    while (true) {
        text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
        if (text.empty()) {
            return words;
        }
        words.push_back(text.substr(0, text.find_first_of(kBlanks)));
        text.remove_prefix(words.back().size());
    }
}

}  // namespace netkitd
