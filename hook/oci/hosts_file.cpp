#include "oci/hosts_file.h"

#include <algorithm>

#include "base/join.h"
#include "base/words.h"

namespace netkitd::hook {
namespace {

// Podman writes no other. One with localhost among its names is not about this container alone.
bool names_it(const std::vector<std::string_view>& words, std::string_view host_name) {
    return !host_name.empty() && words.size() > 1 && (words.front().starts_with("127.") || words.front() == "::1") &&
           std::find(words.begin() + 1, words.end(), host_name) != words.end() &&
           !std::ranges::contains(words, std::string_view("localhost"));
}

}  // namespace

std::optional<std::string> with_own_addresses(std::string_view hosts, std::string_view host_name,
                                              const std::vector<std::string>& addresses) {
    std::string text;
    bool replaced = false;
    while (!hosts.empty()) {
        const std::string_view line = hosts.substr(0, hosts.find('\n'));
        hosts.remove_prefix(std::min(line.size() + 1, hosts.size()));
        std::vector<std::string_view> words = words_of(line.substr(0, line.find('#')));
        if (!names_it(words, host_name)) {
            text.append(line).append("\n");
            continue;
        }
        words.erase(words.begin());
        for (const std::string& address : replaced ? std::vector<std::string>() : addresses) {
            text.append(address).append("\t").append(join(words, {}, " ")).append("\n");
        }
        replaced = true;
    }
    return replaced && !addresses.empty() ? std::optional(std::move(text)) : std::nullopt;
}

}  // namespace netkitd::hook
