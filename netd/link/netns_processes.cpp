// The kernel numbers the namespaces that one namespace knows of (nsid), and tells the number of the other end's, and
// that of any process's. So no namespace has to be entered or kept.
#include "link/netns_processes.h"

#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <optional>
#include <system_error>

#include "base/format.h"
#include "base/parse_number.h"
#include "netlink/attributes.h"
#include "netlink/request.h"

namespace netkitd::link {
namespace {

// What stands for "no number", which are signed.
constexpr std::uint32_t kUnassigned = static_cast<std::uint32_t>(NETNSA_NSID_NOT_ASSIGNED);

// None of a process that is over.
Result<std::uint32_t> nsid_of_process(Netlink& host, std::uint32_t pid) {
    // The fixed part is four bytes long, padded (struct rtgenmsg).
    NetlinkRequest request(RTM_GETNSID, 0, formatted("look up the network namespace of process {}", pid));
    request.put_struct(std::uint32_t{0}).put_u32(NETNSA_PID, pid);
    std::uint32_t nsid = kUnassigned;
    const Result<void> found = host.query(request, [&](const nlmsghdr& message) {
        nsid = NetlinkAttributes(message, sizeof(std::uint32_t)).u32(NETNSA_NSID).value_or(kUnassigned);
    });
    if (!found && found.error().system_error() != ESRCH) {
        return std::unexpected(found.error());
    }
    return nsid;
}

// Those whose netns has a number. `visit` returns false to end the walk.
Result<void> walk_processes(Netlink& host, const std::function<bool(std::uint32_t nsid, std::uint32_t pid)>& visit) {
    std::error_code error;
    for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end;
         entry.increment(error)) {
        const auto pid = parse_number<std::uint32_t>(entry->path().filename().string());
        const std::uint32_t nsid = pid ? NK_TRY(nsid_of_process(host, *pid)) : kUnassigned;
        if (nsid != kUnassigned && !visit(nsid, *pid)) {
            return {};
        }
    }
    return error ? fail_errno(error.value(), "list the processes") : Result<void>();
}

}  // namespace

Result<std::optional<std::uint32_t>> peer_netns_id(Netlink& host, std::uint32_t host_ifindex) {
    NetlinkRequest request(RTM_GETLINK, 0, formatted("look up device {}", host_ifindex));
    request.put_struct(device_message(host_ifindex));
    std::optional<std::uint32_t> nsid;
    const Result<void> found = host.query(request, [&](const nlmsghdr& message) {
        nsid = NetlinkAttributes(message, sizeof(ifinfomsg)).u32(IFLA_LINK_NETNSID);
    });
    if (!found && found.error().system_error() != ENODEV) {
        return std::unexpected(found.error());
    }
    return nsid == kUnassigned ? std::nullopt : nsid;
}

Result<std::map<std::uint32_t, std::uint32_t>> processes_by_netns_id(Netlink& host) {
    std::map<std::uint32_t, std::uint32_t> processes;
    NK_TRY(walk_processes(host, [&](std::uint32_t nsid, std::uint32_t pid) {
        processes.emplace(nsid, pid);
        return true;
    }));
    return processes;
}

Result<bool> peer_netns_has_processes(Netlink& host, std::uint32_t host_ifindex) {
    const auto wanted = NK_TRY(peer_netns_id(host, host_ifindex));
    if (!wanted) {
        return false;
    }
    bool found = false;
    NK_TRY(walk_processes(host, [&](std::uint32_t nsid, std::uint32_t /*pid*/) {
        found = nsid == *wanted;
        return !found;
    }));
    return found;
}

}  // namespace netkitd::link
