// Whether containers get IPv6 on this host, and what the host needs for it (node/ipv6_forwarding).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "link/uplink.h"
#include "netlink/socket.h"
#include "store/store.h"

namespace netkitd {

// Whether a network has it.
[[nodiscard]] bool has_ipv6(const Config& config);

class Ipv6Support {
public:
    // Borrows both for its life.
    Ipv6Support(link::Netlink& host, Store& store) : host_(host), store_(store) {}

    [[nodiscard]] Result<void> sync(const Config& config, const std::vector<link::Uplink>& uplinks);

    // Empty, or why containers get no IPv6 on this host although a network has it; as of the last sync.
    [[nodiscard]] const std::string& obstacle() const { return obstacle_; }

private:
    link::Netlink& host_;
    Store& store_;
    std::string obstacle_;
};

}  // namespace netkitd
