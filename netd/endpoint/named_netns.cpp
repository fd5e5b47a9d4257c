#include "endpoint/named_netns.h"

#include <filesystem>
#include <system_error>

#include "netlink/netns.h"
#include "netlink/socket.h"

namespace netkitd {
namespace {

constexpr int kMostNames = 1024;

bool has_cookie(int netns, std::uint64_t cookie) {
    const auto socket = link::Netlink::open_in(netns);
    return socket && socket->netns_cookie() == cookie;
}

}  // namespace

UniqueFd find_named_netns(std::uint64_t cookie) {
    std::error_code error;
    int names = 0;
    for (std::filesystem::directory_iterator entry("/run/netns", error), end;
         !error && entry != end && names < kMostNames; entry.increment(error), ++names) {
        if (auto netns = link::open_netns(entry->path()); netns && has_cookie(netns->get(), cookie)) {
            return std::move(*netns);
        }
    }
    return {};
}

}  // namespace netkitd
