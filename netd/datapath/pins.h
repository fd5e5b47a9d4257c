// Where the datapath lives while no daemon runs: pinned maps and links below one directory of a bpffs.
//
//   DIRECTORY/abi1/maps/NAME           the shared maps
//   DIRECTORY/abi1/links/NAME          one link per endpoint (named as the host's end), two per uplink
//
// The ABI version is part of the path: a daemon never misreads maps of another version, it refuses them by name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace netkitd::datapath {

class Pins {
public:
    // Creates the directories (0700). Refuses a directory that is not on a bpffs, and pins of another ABI version.
    [[nodiscard]] static Result<Pins> prepare(const std::string& directory);

    [[nodiscard]] std::string map(std::string_view name) const;
    [[nodiscard]] std::string link(std::string_view name) const;
    [[nodiscard]] Result<std::vector<std::string>> link_names() const;
    // A pin that is already gone is not an error.
    [[nodiscard]] Result<void> unpin_link(std::string_view name) const;
    // Every pin and directory of ours; --purge only.
    [[nodiscard]] static Result<void> remove_all(const std::string& directory);

private:
    explicit Pins(std::string root) : root_(std::move(root)) {}
    std::string root_;
};

}  // namespace netkitd::datapath
