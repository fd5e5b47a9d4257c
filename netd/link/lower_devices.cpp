#include "link/lower_devices.h"

#include <utility>

namespace netkitd::link {

std::set<std::uint32_t> with_lower_devices(const std::vector<Device>& devices, std::set<std::uint32_t> ifindexes,
                                           Parts parts) {
    // A device's own neighbours in the stack, and theirs with the next round: stacks are a few devices high.
    for (std::size_t known = 0; known != ifindexes.size();) {
        known = ifindexes.size();
        for (const Device& device : devices) {
            if (device.lower != 0 && ifindexes.contains(device.ifindex)) {
                ifindexes.insert(device.lower);
            }
            if (parts == Parts::included && ifindexes.contains(device.master)) {
                ifindexes.insert(device.ifindex);
            }
        }
    }
    return ifindexes;
}

}  // namespace netkitd::link
