// What maps of an older layout hold is taken over while traffic flows.
//
// A map whose layout changed is made anew beside the former one, which the programs that are attached go on with:
//   1. copy(): every entry, and when that was is recorded (pins.h). Flows are counted as they are taken over.
//   2. The caller gives the uplinks' links the new programs, then the containers'. Meanwhile nk_node.upgrading is set.
//      A packet to a port of ours without a flow may belong to one that a former program has made since, so it is
//      dropped where the host would answer it with a reset, and its sender sends it again.
//   3. finish(), when no link has a former program any more: what those made or touched since the copy is copied too,
//      with its own time stamps, unless the new map has an entry that was touched later (flow_takeover.h). Then the
//      former maps are unpinned.
// A daemon that is killed meanwhile leaves former and new maps pinned. Without the record nobody uses the new ones:
// they are made once more. With it the next daemon goes on at 2: another copy of everything would bring back what has
// ended. If that is of a version newer still, it begins at 1, with what both have.
#pragma once

#include <bpf/bpf.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "datapath/pins.h"
#include "netkitd.skel.h"

namespace netkitd::datapath {

class Upgrade {
public:
    // Looks for maps of older layouts, and unpins what an upgrade that was cut short in its copy has made. Before the
    // maps are made.
    [[nodiscard]] static Result<Upgrade> look(const Pins& pins);

    [[nodiscard]] bool pending() const { return !former_.empty(); }
    // This one did, not a daemon before that was cut short.
    [[nodiscard]] bool has_copied() const { return has_copied_; }
    // For as many entries the new map has to have room; nothing: it replaces none.
    [[nodiscard]] std::optional<std::uint32_t> former_capacity(std::string_view map) const;
    // For which no memory may be left: a second table of each. An error with the way out when it is not to be had.
    [[nodiscard]] Result<void> ask_for_memory(const netkitd_bpf& skeleton) const;

    // `skeleton`: whose maps are loaded.
    [[nodiscard]] Result<void> copy(const netkitd_bpf& skeleton, const Pins& pins);
    [[nodiscard]] Result<void> finish(const netkitd_bpf& skeleton, const Pins& pins);

private:
    struct FormerMap {
        PinName pin;
        UniqueFd fd;
        bpf_map_info info{};
    };
    [[nodiscard]] Result<void> unpin_new_maps(const Pins& pins) const;
    // Of the former maps of that name.
    [[nodiscard]] bool is_newest(const FormerMap& former, std::string_view map) const;
    [[nodiscard]] Result<std::uint64_t> take_over(const netkitd_bpf& skeleton, const FormerMap& former,
                                                  std::chrono::nanoseconds since) const;
    [[nodiscard]] Result<void> copy_flows(const netkitd_bpf& skeleton) const;
    // Of flows, what was made or touched in any former map since then.
    [[nodiscard]] Result<void> take_over_touched(const netkitd_bpf& skeleton, std::chrono::nanoseconds since) const;
    [[nodiscard]] static Result<FormerMap> open(const Pins& pins, const PinName& pin);

    std::vector<FormerMap> former_;  // the newest layout of a map first
    std::optional<std::chrono::nanoseconds> copied_at_;
    bool has_copied_ = false;
    // When a version between copied to a layout of its own, which is a former one here.
    std::optional<std::chrono::nanoseconds> between_copied_at_;
};

}  // namespace netkitd::datapath
