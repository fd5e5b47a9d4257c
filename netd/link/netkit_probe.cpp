// Tries to make a netkit pair in a netns that dies with the thread that made it, so nothing can be left behind, not
// even by a process that is killed in between.
#include <fcntl.h>
#include <sched.h>

#include <thread>

#include "base/unique_fd.h"
#include "link/device.h"

namespace netkitd::link {
namespace {

Result<bool> try_in_new_netns() {
    if (::unshare(CLONE_NEWNET) < 0) {
        return fail_errno(errno, "make a network namespace to try netkit in");
    }
    const UniqueFd netns(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!netns) {
        return fail_errno(errno, "open /proc/thread-self/ns/net");
    }
    Netlink netlink = NK_TRY(Netlink::open());
    const PairSpec spec{.mode = DeviceMode::netkit,
                        .host_name = "nkprobe0",
                        .host_alias = "",
                        .peer_netns = netns.get(),
                        .peer_name = "nkprobe1",
                        .mtu = 1500};
    const Result<Pair> pair = create_pair(netlink, netlink, spec);
    // "Unknown device type" (net/core/rtnetlink.c): not built in, and no module of that name could be loaded.
    if (!pair && pair.error().system_error() == EOPNOTSUPP) {
        return false;
    }
    if (!pair) {
        return std::unexpected(pair.error());
    }
    return true;
}

}  // namespace

Result<bool> netkit_supported() {
    Result<bool> supported = false;
    std::thread([&] { supported = try_in_new_netns(); }).join();
    return supported;
}

}  // namespace netkitd::link
