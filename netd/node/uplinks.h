// The uplinks of this node and their programs: containers send to an uplink only when its programs are there.
//
// A sync of the node calls discover(), attach() and detach_former() in that order, and does in between what has to be
// done by then (node_network.cpp).
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "datapath/datapath.h"
#include "link/uplink.h"
#include "netlink/socket.h"

namespace netkitd {

class Uplinks {
public:
    // Borrows both for its life.
    Uplinks(link::Netlink& host, datapath::Datapath& datapath) : host_(host), datapath_(datapath) {}

    // Which there are; `configured` as for link::discover_uplinks().
    [[nodiscard]] Result<void> discover(const std::vector<std::string>& configured);
    // Programs for the usable ones. One that refuses is unusable from then on, and says why, unless it has a former
    // daemon's, which go on.
    void attach();
    // Why one of them, or several, did not get this daemon's programs: worth another attempt.
    [[nodiscard]] const Result<void>& failure() const { return failure_; }
    // From what is no usable uplink any more.
    [[nodiscard]] Result<void> detach_former();

    // As of the last sync, those that there was room for.
    [[nodiscard]] const std::vector<link::Uplink>& all() const { return uplinks_; }
    // Names of the others.
    [[nodiscard]] const std::vector<std::string>& left_out() const { return left_out_; }
    // Programs of others beside netkitd's, likewise.
    [[nodiscard]] const std::vector<datapath::ForeignProgram>& foreign_programs() const { return foreign_programs_; }
    // ifindexes
    [[nodiscard]] std::vector<std::uint32_t> usable() const;
    [[nodiscard]] std::vector<std::uint32_t> attached() const { return {attached_.begin(), attached_.end()}; }
    // The smallest of the ways out.
    [[nodiscard]] std::uint32_t mtu() const;

private:
    [[nodiscard]] Result<void> attach_one(const link::Uplink& uplink);
    [[nodiscard]] bool has_programs(const link::Uplink& uplink) const;

    link::Netlink& host_;
    datapath::Datapath& datapath_;
    std::vector<link::Uplink> uplinks_;
    std::vector<std::string> left_out_;
    std::vector<datapath::ForeignProgram> foreign_programs_;
    Result<void> failure_;
    std::set<std::uint32_t> attached_;  // those that have this daemon's programs
};

}  // namespace netkitd
