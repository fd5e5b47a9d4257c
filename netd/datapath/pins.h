// Where the datapath lives while no daemon runs: pinned maps and links below one directory of a bpffs.
//
//   DIRECTORY/abi3/maps/NAME           the shared maps (pinned_maps.h)
//   DIRECTORY/abi3/links/NAME          one link per endpoint (named as the host's end), two per uplink
//   DIRECTORY/abi3/upgrade-NS          a directory, while maps of another version are taken over (upgrade.h): when
//                                      they were copied, CLOCK_MONOTONIC
//
// The first version called its directory abi3, and so do all that can take over what it left.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "datapath/pinned_maps.h"

namespace netkitd::datapath {

class Pins {
public:
    // Creates the directories (0700). Refuses a directory that is not on a bpffs, and what a newer version left.
    [[nodiscard]] static Result<Pins> prepare(const std::string& directory);
    // Those that are missing.
    [[nodiscard]] Result<void> make_directories() const;

    // One of kPinnedMaps, in this version's layout.
    [[nodiscard]] std::string map(std::string_view name) const;
    // Those of older versions that are still there.
    [[nodiscard]] Result<std::vector<PinName>> older_maps() const;
    [[nodiscard]] std::string map(const PinName& older) const;
    // Of the layout that this version has.
    [[nodiscard]] bool has_map(std::string_view name) const;
    [[nodiscard]] Result<void> unpin_map(const PinName& older) const;
    // As they are called there.
    [[nodiscard]] Result<std::vector<std::string>> map_names() const;
    [[nodiscard]] Result<void> unpin_maps_except(const std::vector<std::string>& kept) const;

    [[nodiscard]] std::string link(std::string_view name) const;
    [[nodiscard]] bool has_link(std::string_view name) const;
    [[nodiscard]] Result<std::vector<std::string>> link_names() const;
    // A pin that is already gone is not an error.
    [[nodiscard]] Result<void> unpin_link(std::string_view name) const;

    // What a daemon that was killed left to be known of an upgrade under way.
    [[nodiscard]] Result<std::optional<std::chrono::nanoseconds>> copied_at() const;
    [[nodiscard]] Result<void> note_copied(std::chrono::nanoseconds at) const;
    [[nodiscard]] Result<void> forget_copied() const;

    // Every pin and directory of any version of netkitd; --purge only.
    [[nodiscard]] static Result<void> remove_all(const std::string& directory);

private:
    explicit Pins(std::string root) : root_(std::move(root)) {}
    [[nodiscard]] Result<void> refuse_newer_maps() const;
    std::string root_;
};

}  // namespace netkitd::datapath
