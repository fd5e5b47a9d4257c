// The addresses that networks want to masquerade with, and whether the host has them: an address may come after the
// configuration that names it, and go again.
#pragma once

#include <string>
#include <vector>

#include "base/ip_addr.h"
#include "base/result.h"
#include "config/config.h"
#include "netlink/socket.h"

namespace netkitd {

struct MissingSource {
    std::string network;
    IpAddr address;
};

class MasqueradeSources {
public:
    // Borrows it for its life.
    explicit MasqueradeSources(link::Netlink& host) : host_(host) {}

    [[nodiscard]] Result<void> sync(const Config& config);

    // Those that are not (yet) the host's, as of the last sync: new flows of their networks are dropped.
    [[nodiscard]] const std::vector<MissingSource>& missing() const { return missing_; }

private:
    link::Netlink& host_;
    std::vector<MissingSource> missing_;
};

}  // namespace netkitd
