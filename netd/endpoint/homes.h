// Which home in the pool of ports (bpf/lib/nat/ports.h) an endpoint has: one of its own, as long as there are enough.
//
// What a container has left keeps its ports for minutes. So whoever starts again gets the home that it had, or it could
// fill one after another with what it leaves; and anybody else gets the one that has been free for longest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/port_range.h"

namespace netkitd {

class Homes {
public:
    // One of those that this pool has; where all are taken, one that few share.
    [[nodiscard]] std::uint32_t take(const std::string& container_id, const PortRange& pool);
    // Of an endpoint that is there already. Its pool may have been larger.
    void hold(std::uint32_t home, const std::string& container_id);
    void give_back(std::uint32_t home);

private:
    struct Home {
        std::uint32_t endpoints = 0;
        std::uint64_t given_back = 0;  // counts up
        std::string container = {};    // who took it last
    };
    [[nodiscard]] Home& at(std::uint32_t home);

    std::vector<Home> homes_;
    std::uint64_t given_back_ = 0;
};

}  // namespace netkitd
