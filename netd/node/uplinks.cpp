#include "node/uplinks.h"

#include <algorithm>
#include <iterator>
#include <ranges>

#include "abi.h"
#include "base/format.h"
#include "base/log.h"
#include "link/device.h"

namespace netkitd {
namespace {

// RFC 1122 gives no smaller figure for Ethernet; used only while there is no uplink.
constexpr std::uint32_t kMtuWithoutUplink = 1500;

// The ways out come first, then those that came first.
std::vector<std::string> leave_out_what_has_no_room(std::vector<link::Uplink>& uplinks) {
    std::vector<std::string> left_out;
    if (uplinks.size() <= NK_MAX_UPLINKS) {
        return left_out;
    }
    std::ranges::stable_partition(uplinks, &link::Uplink::is_way_out);
    std::ranges::transform(uplinks | std::views::drop(NK_MAX_UPLINKS), std::back_inserter(left_out),
                           &link::Uplink::name);
    uplinks.resize(NK_MAX_UPLINKS);
    std::ranges::sort(uplinks, {}, &link::Uplink::ifindex);
    return left_out;
}

datapath::UplinkKind kind_of(const link::Uplink& uplink) {
    return uplink.is_l3 ? datapath::UplinkKind::l3 : datapath::UplinkKind::ethernet;
}

}  // namespace

Result<void> Uplinks::discover(const std::vector<std::string>& configured) {
    // A link that goes down and up loses routes and addresses for a moment, and its programs must not go with them:
    // packets of containers' connections would come to the host, which resets them.
    const auto attached = NK_TRY(datapath_.attached_uplinks());
    uplinks_ = NK_TRY(link::discover_uplinks(host_, configured, {attached.begin(), attached.end()}));
    left_out_ = leave_out_what_has_no_room(uplinks_);
    return {};
}

void Uplinks::attach() {
    foreign_programs_.clear();
    failure_ = {};
    for (link::Uplink& uplink : uplinks_) {
        if (!uplink.usable()) {
            continue;
        }
        // One that cannot be used does not keep the others from it; it may also have vanished just now.
        if (const auto attached = attach_one(uplink); !attached) {
            failure_ = attached;
            attached_.erase(uplink.ifindex);
            // Those of a daemon before go on, until the next look.
            if (!has_programs(uplink)) {
                uplink.unusable = attached.error().message();
            }
        }
    }
}

bool Uplinks::has_programs(const link::Uplink& uplink) const {
    const auto device = link::find_device(host_, uplink.name);
    const auto attached = datapath_.attached_uplinks();
    return device && *device && (*device)->ifindex == uplink.ifindex && attached &&
           std::ranges::contains(*attached, uplink.ifindex);
}

Result<void> Uplinks::attach_one(const link::Uplink& uplink) {
    auto programs = NK_TRY(datapath_.look_at_uplink(uplink.name, uplink.ifindex, kind_of(uplink)));
    const bool first_time = !attached_.contains(uplink.ifindex);
    if (first_time || !programs.complete) {
        NK_TRY(datapath_.attach_uplink(uplink.name, uplink.ifindex, kind_of(uplink)));
        attached_.insert(uplink.ifindex);
        log(LogLevel::info, "uplink {} (mtu {}){}", uplink.name, uplink.mtu,
            first_time ? "" : ": its programs had been detached, and are attached again");
        programs = NK_TRY(datapath_.look_at_uplink(uplink.name, uplink.ifindex, kind_of(uplink)));
    }
    std::ranges::move(programs.foreign, std::back_inserter(foreign_programs_));
    return {};
}

Result<void> Uplinks::detach_former() {
    const std::vector<std::uint32_t> now = usable();
    std::erase_if(attached_, [&](std::uint32_t ifindex) { return !std::ranges::contains(now, ifindex); });
    for (const std::uint32_t ifindex : NK_TRY(datapath_.attached_uplinks())) {
        if (!std::ranges::contains(now, ifindex)) {
            const std::string name = link::device_name(ifindex);
            NK_TRY(datapath_.detach_uplink(ifindex));
            log(LogLevel::info, "{} is no uplink any more",
                name.empty() ? formatted("device {}, which is gone,", ifindex) : name);
        }
    }
    return {};
}

std::vector<std::uint32_t> Uplinks::usable() const {
    std::vector<std::uint32_t> result;
    for (const link::Uplink& uplink : uplinks_) {
        if (uplink.usable()) {
            result.push_back(uplink.ifindex);
        }
    }
    return result;
}

std::uint32_t Uplinks::mtu() const {
    const std::vector<link::Uplink> ways = link::ways_out(uplinks_);
    return ways.empty() ? kMtuWithoutUplink : std::ranges::min(ways, {}, &link::Uplink::mtu).mtu;
}

}  // namespace netkitd
