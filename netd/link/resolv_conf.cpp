#include "link/resolv_conf.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <ranges>
#include <utility>

#include "base/format.h"
#include "base/read_file.h"
#include "base/words.h"

namespace netkitd::link {
namespace {

constexpr const char* kHostFile = "/etc/resolv.conf";
constexpr std::array kUpstreamFiles{"/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"};
constexpr std::size_t kMaxFileBytes = 64UL * 1024;

// More than libc looks at (MAXNS is 3, MAXDNSRCH was 6 before glibc 2.26), and what keeps an answer to the hook small.
constexpr std::size_t kMaxServers = 8;
constexpr std::size_t kMaxDomains = 32;
constexpr std::size_t kMaxOptions = 32;
constexpr std::size_t kMaxWordBytes = 256;  // a domain name has at most 253 characters (RFC 1035, section 2.3.4)

// Printable ASCII: what goes into a container's file is one word there too.
bool is_word(std::string_view text) {
    return text.size() <= kMaxWordBytes && std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

void add_server(ResolverSettings& settings, const std::string& text) {
    const auto address = IpAddr::parse(std::string_view(text).substr(0, text.find('%')));
    if (!address || settings.servers.size() + settings.unreachable.size() == kMaxServers) {
        return;
    }
    if (const std::string_view reason = why_no_name_server(*address); !reason.empty()) {
        settings.unreachable.push_back(formatted("{} {}", text, reason));
    } else {
        settings.servers.push_back(*address);
    }
}

// Of a keyword that is given twice, the last line counts (resolv.conf(5)).
void read_line(ResolverSettings& settings, std::string_view line) {
    std::vector<std::string> words;
    for (const std::string_view word : words_of(line) | std::views::filter(is_word)) {
        words.emplace_back(word);
    }
    if (words.size() < 2) {
        return;
    }
    const std::string keyword = std::move(words.front());
    words.erase(words.begin());
    if (keyword == "nameserver") {
        add_server(settings, words.front());
    } else if (keyword == "search" || keyword == "domain") {
        words.resize(std::min(words.size(), keyword == "domain" ? 1 : kMaxDomains));
        settings.search = std::move(words);
    } else if (keyword == "options") {
        words.resize(std::min(words.size(), kMaxOptions - std::min(settings.options.size(), kMaxOptions)));
        std::ranges::move(words, std::back_inserter(settings.options));
    }
}

}  // namespace

std::optional<std::string> read_host_file(const std::string& path) {
    auto text = read_file(path, kMaxFileBytes);
    return text ? std::optional(std::move(*text)) : std::nullopt;
}

std::string_view why_no_name_server(const IpAddr& address) {
    const auto in = [&](const char* prefix) { return IpPrefix::parse(prefix)->contains(address); };
    // libc asks this host at the unspecified address.
    if (in("127.0.0.0/8") || in("0.0.0.0/8") || in("::/127") || in("::ffff:127.0.0.0/104")) {
        return "listens on this host's loopback device only";
    }
    if (in("224.0.0.0/4") || in("ff00::/8")) {
        return "is a multicast address";
    }
    if (in("fe80::/10")) {
        return "is a link-local address of a network that containers are not on";
    }
    return "";
}

ResolverSettings parse_resolv_conf(std::string_view text, const std::string& file) {
    ResolverSettings settings{.servers = {}, .search = {}, .options = {}, .file = file, .unreachable = {}};
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        // A comment has its sign in the first column.
        if (!line.starts_with('#') && !line.starts_with(';')) {
            read_line(settings, line);
        }
    }
    return settings;
}

ResolverSettings find_resolver_settings(const ReadFile& read) {
    const auto text = read(kHostFile);
    if (!text) {
        return {};
    }
    ResolverSettings settings = parse_resolv_conf(*text, kHostFile);
    if (!settings.servers.empty() || settings.unreachable.empty()) {
        return settings;
    }
    for (const char* const file : kUpstreamFiles) {
        if (const auto upstreams = read(file)) {
            if (ResolverSettings found = parse_resolv_conf(*upstreams, file); !found.servers.empty()) {
                return found;
            }
        }
    }
    return settings;
}

}  // namespace netkitd::link
