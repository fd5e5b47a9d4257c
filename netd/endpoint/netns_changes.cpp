#include "endpoint/netns_changes.h"

#include <array>
#include <ranges>
#include <utility>

#include "base/format.h"
#include "base/join.h"
#include "base/words.h"

namespace netkitd {
namespace {

constexpr std::string_view kOurs = "netkitd";
constexpr std::string_view kChanged = "changed=";
constexpr std::array<std::pair<std::string_view, bool NetnsChanges::*>, 2> kNames{
    {{"local-ports", &NetnsChanges::local_ports}, {"lo", &NetnsChanges::loopback_up}}};

}  // namespace

std::string alias_text(std::string_view container_id, std::string_view network, const NetnsChanges& changes) {
    std::string text = formatted("{} {} network={}", kOurs, container_id, network);
    if (changes.any()) {
        const auto is_changed = [&](const auto& name) { return changes.*name.second; };
        const auto name_of = [](const auto& name) { return std::string(name.first); };
        text += formatted(" {}{}", kChanged, join(kNames | std::views::filter(is_changed), name_of, ","));
    }
    return text;
}

std::string container_in(std::string_view alias) {
    const auto words = words_of(alias);
    return words.size() > 1 && words[0] == kOurs ? std::string(words[1]) : "";
}

NetnsChanges changes_in(std::string_view alias) {
    NetnsChanges changes;
    for (const std::string_view word : words_of(alias)) {
        if (!word.starts_with(kChanged)) {
            continue;
        }
        for (const auto part : std::views::split(word.substr(kChanged.size()), ',')) {
            for (const auto& [name, member] : kNames) {
                changes.*member = changes.*member || std::string_view(part) == name;
            }
        }
    }
    return changes;
}

}  // namespace netkitd
