// BIG TCP: inside this host, packets of TCP may be three times as large as an IP packet, so that fewer go through the
// stack for as many bytes. On the wire they are what they always were.
//
// It is one size for the node, or it is off: 192 KiB, or what the uplinks bear, on both ends of every pair, on the
// uplinks and on what these stand on (of a VLAN, the device below). Where one uplink bears no more than 64 KiB, or
// refuses, nothing is changed anywhere, and status says why: a packet that is too large for a device is cut by the CPU.
// What an uplink had before is recorded when it is changed; it gets it back when it is no uplink any more, when BIG TCP
// is turned off, and from --purge.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "link/segment_sizes.h"
#include "link/uplink.h"
#include "netlink/socket.h"
#include "store/store.h"

namespace netkitd {

class BigTcp {
public:
    using SetSizes = std::function<Result<void>(link::Netlink&, std::uint32_t, const link::SegmentSizes&)>;

    // Borrows both for its life.
    BigTcp(link::Netlink& host, Store& store, SetSizes set_sizes = link::set_segment_sizes)
        : host_(host), store_(store), set_sizes_(std::move(set_sizes)) {}

    // Makes the usable ones of the uplinks agree with what is wanted; idempotent. That one of them refuses is no error.
    [[nodiscard]] Result<void> sync(bool wanted, const std::vector<link::Uplink>& uplinks);

    // As of the last sync.
    [[nodiscard]] bool enabled() const { return why_off_.empty(); }
    // Empty, or why it is off.
    [[nodiscard]] const std::string& why_off() const { return why_off_; }
    // For both ends of every pair.
    [[nodiscard]] link::SegmentSizes pair_sizes() const { return link::SegmentSizes::all(size_); }

private:
    using Limits = std::map<std::uint32_t, std::uint32_t>;  // what each uplink bears, by ifindex
    void decide(bool wanted, const std::vector<link::Device>& uplinks);
    void turn_off(std::string reason);
    [[nodiscard]] Result<void> give_back(const std::vector<link::Device>& uplinks);
    [[nodiscard]] Result<void> enlarge(const link::Device& uplink);

    link::Netlink& host_;
    Store& store_;
    SetSizes set_sizes_;
    std::uint32_t size_ = link::kLegacySegmentSize;
    std::string why_off_ = "the uplinks were not looked at yet";
    // That one refused is believed until there are other uplinks: each attempt is an event that would bring the next.
    Limits refused_limits_;
    std::string refusal_;
};

}  // namespace netkitd
