// Forgets the flows that are over, or whose container is, and halves without their other half; and shares the table out
// among the endpoints that there are.
//
// Whether a flow is over follows from both halves, so a walk goes through all entries, and only for one whose own half
// has been idle long enough does it look at the other half. A TCP connection that its container's socket still has is
// never over, whatever resets, FINs or silence seem to say: anybody can send those. A look-up of a name is over soon
// after its answer, unless its socket is still open: its port is wanted for others. The host's own flows are
// over when nftables would have forgotten them too. What ended containers have left keeps its ports for a while from
// their end on; where that is too much, it is over at once of those that left most. When to walk is for the schedule to
// say; a walk is done a slice at a time, so that whoever waits for the daemon never waits for all of it.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "config/flow_lifetimes.h"
#include "datapath/datapath.h"
#include "nat/flow_entries.h"
#include "nat/flows.h"
#include "nat/sweep_schedule.h"

namespace netkitd::nat {

template <typename Key>
struct EndedFlow {
    FlowEntry<Key> entry;
    std::optional<nk_flow> other;
};

// How far a walk through both maps has come, and what it found.
struct SweepWalk {
    std::size_t map = 0;
    FlowCursor cursor;
    std::set<std::uint32_t> owners;  // endpoint ids
    std::uint64_t removed = 0;
    std::array<std::set<std::uint32_t>, 2> too_much;   // of each map: endpoints that ended and left too much
    std::optional<std::chrono::nanoseconds> next_end;  // when the first of those that were left is over
};

// Whose flows may be there. Those of an endpoint that has ended are over; but its TCP connections may be alive for
// their other ends, so that their ports are not for others yet.
struct FlowOwners {
    std::function<bool(std::uint32_t endpoint_id)> has = [](std::uint32_t) { return true; };
    std::function<std::size_t()> count = [] { return 0; };
    std::function<std::uint64_t()> ended = [] { return 0; };  // how many there were that have ended
    // Where the sockets of an endpoint that has not ended are looked for (nk_socket_question), if anywhere.
    std::function<std::optional<std::uint32_t>(std::uint32_t endpoint_id)> netns_id = [](std::uint32_t) {
        return std::nullopt;
    };
};

class FlowSweeper {
public:
    // Borrows the datapath for its life.
    explicit FlowSweeper(const datapath::Datapath& datapath, FlowOwners owners = {})
        : datapath_(&datapath), owners_(std::move(owners)) {}

    // Does a slice of what is due, if anything is; how long to wait before the next step.
    [[nodiscard]] Result<std::chrono::milliseconds> step(const FlowLifetimes& lifetimes,
                                                         std::chrono::nanoseconds now = monotonic_now());

    // Each family's map, with what the last step saw of it.
    struct Map {
        std::string_view name;  // the datapath's
        IpFamily family{};
        std::uint64_t capacity = 0;
        // `capacity`: how many entries one container gets where no other wants any; what is beyond is for shares.
        FlowMapFill fill = {};
        // Since when it has been more than three quarters full.
        std::optional<std::chrono::system_clock::time_point> high_since = std::nullopt;
    };
    [[nodiscard]] const std::array<Map, 2>& maps() const { return maps_; }
    // Reads the maps' fill anew, without anything else.
    [[nodiscard]] Result<void> measure();

    [[nodiscard]] bool is_walking() const { return walk_.has_value(); }
    [[nodiscard]] std::uint64_t walks() const { return walks_; }
    [[nodiscard]] std::uint64_t removed() const { return removed_; }  // flows and lonely halves

private:
    [[nodiscard]] Result<bool> is_due(const FlowLifetimes& lifetimes, std::chrono::nanoseconds now);
    [[nodiscard]] bool has_owner_ended();
    template <typename Key>
    [[nodiscard]] std::chrono::nanoseconds life(const FlowLifetimes& lifetimes, FlowState state,
                                                const FlowEntry<Key>& entry) const;
    template <typename Key>
    [[nodiscard]] std::chrono::nanoseconds earliest_end(const FlowLifetimes& lifetimes,
                                                        const FlowEntry<Key>& entry) const;
    template <typename Key>
    [[nodiscard]] std::chrono::nanoseconds end_of(const FlowLifetimes& lifetimes, const FlowEntry<Key>& entry,
                                                  const nk_flow& other) const;
    [[nodiscard]] bool has_ended(std::uint32_t endpoint_id) const {
        return !is_of_host(endpoint_id) && !owners_.has(endpoint_id);
    }
    [[nodiscard]] Result<std::array<std::set<std::uint32_t>, 2>> who_left_too_much() const;
    // From when on a flow's life counts. Of an endpoint that has ended, its end, as far as that was seen: its
    // connections may be alive for their other ends, however long they had been idle.
    [[nodiscard]] std::chrono::nanoseconds lives_from(std::uint32_t endpoint_id, std::uint64_t last_seen_ns) const;
    [[nodiscard]] Result<void> forget_ended();
    [[nodiscard]] Result<void> work(const FlowLifetimes& lifetimes, std::chrono::nanoseconds now);
    template <typename Key>
    [[nodiscard]] std::uint8_t kept_by_socket(const FlowLifetimes& lifetimes, const EndedFlow<Key>& flow,
                                              std::chrono::nanoseconds now) const;
    template <typename Key>
    [[nodiscard]] Result<void> spare_connected(std::vector<EndedFlow<Key>>& ended, const FlowLifetimes& lifetimes,
                                               std::chrono::nanoseconds now) const;
    template <typename Key>
    [[nodiscard]] Result<void> remove(const std::vector<EndedFlow<Key>>& ended);
    template <typename Key>
    [[nodiscard]] Result<std::size_t> sweep_some(const Map& map, const FlowLifetimes& lifetimes,
                                                 std::chrono::nanoseconds now);

    const datapath::Datapath* datapath_;
    FlowOwners owners_;
    std::uint64_t ended_ = 0;  // owners, as of the last look
    // When those whose flows are there were first seen to have ended.
    std::map<std::uint32_t, std::chrono::nanoseconds> ended_since_;
    SweepSchedule schedule_;
    std::array<Map, 2> maps_{{{.name = "flows4", .family = IpFamily::v4}, {.name = "flows6", .family = IpFamily::v6}}};
    std::optional<SweepWalk> walk_;
    std::uint64_t walks_ = 0;
    std::uint64_t removed_ = 0;
};

}  // namespace netkitd::nat
