// Kernel notifications about devices, addresses and routes of one netns, for the event loop.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "netlink/socket.h"

namespace netkitd::link {

struct LinkEvent {
    enum class Kind {
        device_removed,     // RTM_DELLINK: `ifindex`
        device_changed,     // RTM_NEWLINK: `ifindex`, in any other way
        device_down,        // RTM_NEWLINK: `ifindex` was up and is not any more
        address,            // an address of `ifindex` is new or changed
        address_removed,    // an address of `ifindex` is gone
        route,              // the main table, another's default route, or a policy rule changed, by others
        own_route_removed,  // a route or rule of kRouteProtocol is gone: `ifindex` if it led to a device, else 0
        forwarding_off,     // perhaps, of `ifindex`, by itself or with all others (ip_forward=0, conf.all.forwarding=0)
        forwarding_off_everywhere,  // net.ipv6.conf.all.forwarding was turned off
        overrun,                    // ENOBUFS: events were lost, everything must be read again
    };
    Kind kind{};
    std::uint32_t ifindex = 0;
};

class Monitor {
public:
    // In the calling thread's netns.
    [[nodiscard]] static Result<Monitor> open();
    // For epoll; readable when read() has something.
    [[nodiscard]] int fd() const;
    // What is pending, without blocking; at most 256 datagrams, the descriptor stays readable if there are more. Equal
    // events that follow each other are one.
    [[nodiscard]] Result<std::vector<LinkEvent>> read();

private:
    struct Closer {
        void operator()(mnl_socket* socket) const;
    };
    explicit Monitor(mnl_socket* socket);
    std::unique_ptr<mnl_socket, Closer> socket_;
};

}  // namespace netkitd::link
