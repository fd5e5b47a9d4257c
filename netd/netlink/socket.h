// A netlink socket (libmnl), mostly of NETLINK_ROUTE, that lives in one network namespace, and requests over it.
//
// A socket belongs for ever to the netns it was opened in, so a container's devices are configured through a socket
// opened inside its netns instead of switching namespaces per call. Such a socket keeps the netns alive: never store
// one beyond the attach. Every failure carries the kernel's extended ack.
#pragma once

#include <libmnl/libmnl.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"

namespace netkitd::link {

class NetlinkRequest;  // netlink_request.h: one message being built

class Netlink {
public:
    // In the calling thread's netns. `protocol`: NETLINK_*, netlink(7).
    [[nodiscard]] static Result<Netlink> open(int protocol = NETLINK_ROUTE);
    // Inside the netns that `netns_fd` refers to; on return the thread is back in its own. Not thread-safe with
    // respect to other users of the calling thread's netns.
    [[nodiscard]] static Result<Netlink> open_in(int netns_fd);

    // The identity of the socket's netns (SO_NETNS_COOKIE, socket(7)): never reused within a boot.
    [[nodiscard]] Result<std::uint64_t> netns_cookie() const;

    // Sends the requests in one write (64 at a time) and waits for every acknowledgement. The error is that of the
    // first request that failed, its system_error the kernel's errno; the kernel carries out the others all the same.
    [[nodiscard]] Result<void> transact(std::span<NetlinkRequest> requests);
    [[nodiscard]] Result<void> transact(NetlinkRequest& request);
    // Sends a dump (NLM_F_DUMP) or get request, calls `handle` for each message of the answer once it is complete; a
    // dump that changes while it is read is read again.
    [[nodiscard]] Result<void> query(NetlinkRequest& request, const std::function<void(const nlmsghdr&)>& handle);

private:
    struct Closer {
        void operator()(mnl_socket* socket) const;
    };
    explicit Netlink(mnl_socket* socket);
    [[nodiscard]] Result<void> transact_batch(std::span<NetlinkRequest> batch);

    std::unique_ptr<mnl_socket, Closer> socket_;
    std::uint32_t sequence_ = 0;
};

}  // namespace netkitd::link
