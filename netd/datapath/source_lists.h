// Lists of who may come to published ports, as the programs find them (abi.h: map `allowed_sources`). Ports with equal
// ones share one.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "base/ip_addr.h"
#include "base/result.h"

namespace netkitd::datapath {

class SourceLists {
public:
    // `map`: borrowed, for the life of this.
    explicit SourceLists(int map) : map_(map) {}

    // The number of the list of those of the prefixes that are of the family. Each take() is left once.
    [[nodiscard]] Result<std::uint32_t> take(const std::vector<IpPrefix>& prefixes, IpFamily family);
    [[nodiscard]] Result<void> leave(std::uint32_t number);

private:
    using Content = std::pair<IpFamily, std::vector<IpPrefix>>;
    struct List {
        Content content;
        std::uint32_t uses = 0;
    };
    [[nodiscard]] Result<void> write(std::uint32_t number, const std::vector<IpPrefix>& prefixes) const;
    [[nodiscard]] Result<void> erase(std::uint32_t number, const std::vector<IpPrefix>& prefixes) const;

    int map_;
    std::map<Content, std::uint32_t> numbers_;
    std::map<std::uint32_t, List> lists_;  // by number
    std::uint32_t last_number_ = 0;
};

}  // namespace netkitd::datapath
