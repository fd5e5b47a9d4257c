// How the pairs of containers that run already come to have other segment sizes (node/big_tcp): because the daemon is a
// newer one, or an uplink came or went.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "endpoint/endpoint_table.h"
#include "endpoint/plumbing.h"
#include "link/device.h"
#include "link/segment_sizes.h"
#include "store/store.h"

namespace netkitd {

class PairSizes {
public:
    // Borrows it for its life.
    explicit PairSizes(Plumbing& plumbing) : plumbing_(plumbing) {}

    // A new pair is made with them.
    void note_made(std::uint32_t endpoint_id, const link::SegmentSizes& sizes);
    // To both ends of one that is there already. `devices`: the host's.
    [[nodiscard]] Result<void> give(const Endpoint& endpoint, const std::vector<link::Device>& devices,
                                    const link::SegmentSizes& sizes);
    void forget(const EndpointRecord& record);

    // Running containers whose end of the pair did not get the sizes that it should have, and why.
    [[nodiscard]] const std::map<std::string, std::string>& refused() const { return refused_; }

private:
    [[nodiscard]] Result<void> give_to_peer(const EndpointRecord& record, const link::SegmentSizes& sizes);

    Plumbing& plumbing_;
    std::map<std::uint32_t, link::SegmentSizes> of_peers_;  // what the container's end has or was refused, by id
    std::map<std::string, std::string> refused_;            // why, by container
};

}  // namespace netkitd
