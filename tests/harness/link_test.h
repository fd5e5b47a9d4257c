// A node and a container, each with a netlink socket, for tests of what is made between the two.
#pragma once

#include <memory>

#include "harness/netns.h"
#include "link/device.h"
#include "netlink/socket.h"

namespace netkitd::test {

class LinkTest : public NetnsTest {
protected:
    void SetUp() override {
        NetnsTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        container_ = std::make_unique<NetworkNamespace>();
        host_socket_ = std::make_unique<link::Netlink>(link::Netlink::open().value());
        container_socket_ = std::make_unique<link::Netlink>(link::Netlink::open_in(container_->fd()).value());
    }

    [[nodiscard]] const NetworkNamespace& container() const { return *container_; }
    link::Netlink& host_socket() { return *host_socket_; }
    link::Netlink& container_socket() { return *container_socket_; }

    // Of a pair between the two.
    [[nodiscard]] link::PairSpec spec(link::DeviceMode mode = link::DeviceMode::veth) const {
        return {.mode = mode,
                .host_name = "nk12ab34cd",
                .host_alias = "netkitd web-1 default",
                .peer_netns = container().fd(),
                .peer_name = "eth0",
                .mtu = 1400};
    }
    Result<link::Pair> create(const link::PairSpec& wanted) {
        return link::create_pair(host_socket(), container_socket(), wanted);
    }

private:
    std::unique_ptr<NetworkNamespace> container_;
    std::unique_ptr<link::Netlink> host_socket_;
    std::unique_ptr<link::Netlink> container_socket_;
};

}  // namespace netkitd::test
