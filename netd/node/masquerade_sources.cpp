#include "node/masquerade_sources.h"

#include <algorithm>
#include <optional>

#include "link/uplink.h"

namespace netkitd {

Result<void> MasqueradeSources::sync(const Config& config) {
    missing_.clear();
    std::optional<std::vector<IpAddr>> present;  // asked for where somebody wants to know
    for (const NetworkConfig& network : config.networks) {
        for (const IpFamily family : {IpFamily::v4, IpFamily::v6}) {
            const std::optional<IpAddr>& source = network.masquerade(family).source;
            if (!source) {
                continue;
            }
            if (!present) {
                present = NK_TRY(link::own_addresses(host_));
            }
            if (!std::ranges::binary_search(*present, *source)) {
                missing_.push_back({.network = network.name, .address = *source});
            }
        }
    }
    return {};
}

}  // namespace netkitd
