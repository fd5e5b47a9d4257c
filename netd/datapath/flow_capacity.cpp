#include "datapath/flow_capacity.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <sstream>
#include <string>
#include <string_view>

#include "abi.h"
#include "base/read_file.h"

namespace netkitd::datapath {
namespace {

constexpr std::uint64_t kMemoryOfAnEntry = 32768;
constexpr std::uint64_t kLeast = 65536;
constexpr std::uint64_t kMost = 262144;

}  // namespace

std::uint32_t flow_capacity(std::uint64_t memory_bytes) {
    // What a machine calls 8 GB is a little less.
    const std::uint64_t entries = std::bit_floor(memory_bytes / kMemoryOfAnEntry * 9 / 8);
    return static_cast<std::uint32_t>(std::clamp(entries, kLeast, kMost));
}

std::uint32_t FlowShares::most_of_one() const {
    return static_cast<std::uint32_t>(std::uint64_t{common} * NK_FLOW_GREED / (NK_FLOW_GREED + 1)) + share;
}

FlowShares flow_shares(std::uint32_t entries, std::size_t endpoints) {
    // Few containers do not get larger shares: there may be more of them soon.
    constexpr std::size_t kFewest = 256;
    const std::uint32_t half = entries / 2 / 2;
    const auto sharers = static_cast<std::uint32_t>(std::max(kFewest, endpoints));
    return {.share = std::max(half / sharers, 1U), .common = half};
}

std::uint64_t total_memory_bytes() {
    const long pages = ::sysconf(_SC_PHYS_PAGES);
    const long size = ::sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(size) : 0;
}

std::uint64_t available_memory_bytes() {
    constexpr std::size_t kMaxBytes = 64UL * 1024;
    constexpr std::string_view kField = "\nMemAvailable:";
    const auto text = read_file(std::string("/proc/meminfo"), kMaxBytes);
    const auto field = text ? text->find(kField) : std::string::npos;
    std::uint64_t kilobytes = 0;
    if (field != std::string::npos) {
        std::istringstream(text->substr(field + kField.size())) >> kilobytes;
    }
    return kilobytes << 10;
}

}  // namespace netkitd::datapath
