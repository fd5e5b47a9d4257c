// Guards: an uplink's programs on what is no uplink, but may bring packets to the containers' addresses where the host
// forwards.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "datapath/datapath.h"
#include "link/device.h"
#include "netlink/socket.h"

namespace netkitd {

class Guards {
public:
    // Borrows both for its life.
    Guards(link::Netlink& host, datapath::Datapath& datapath) : host_(host), datapath_(datapath) {}

    // `usable`: ifindexes of the usable uplinks; `configured`: the configuration's. What needs no guard any more keeps
    // its programs for Uplinks::detach_former().
    [[nodiscard]] Result<void> attach(const std::vector<std::string>& configured,
                                      const std::vector<std::uint32_t>& usable);

    // ifindexes of the devices that have one, or ought to.
    [[nodiscard]] const std::set<std::uint32_t>& devices() const { return guarded_; }

private:
    [[nodiscard]] Result<std::vector<link::Device>> devices_to_guard(const std::vector<std::string>& configured,
                                                                     const std::vector<std::uint32_t>& usable) const;
    [[nodiscard]] Result<void> attach_one(const link::Device& device);

    link::Netlink& host_;
    datapath::Datapath& datapath_;
    std::set<std::uint32_t> guarded_;
    std::set<std::uint32_t> unguarded_;  // those of them that refused, which was said
};

}  // namespace netkitd
