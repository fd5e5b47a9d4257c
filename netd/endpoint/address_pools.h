// The addresses of every network of the configuration: a pool (ipam.h) for each prefix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "base/ip_addr.h"
#include "base/result.h"
#include "endpoint/ipam.h"

namespace netkitd {

struct PoolUse {
    std::size_t in_use = 0;
    std::uint64_t capacity = 0;
};

class AddressPools {
public:
    explicit AddressPools(const std::vector<IpPrefix>& prefixes) { reconfigure(prefixes); }

    // A prefix that stays keeps its pool.
    void reconfigure(const std::vector<IpPrefix>& prefixes);

    // Of all networks.
    void set_host_prefixes(const std::vector<IpPrefix>& prefixes);

    // As of AddressPool; there must be such a prefix.
    [[nodiscard]] Result<IpAddr> allocate(const IpPrefix& prefix) { return pools_.at(prefix).allocate(); }
    [[nodiscard]] Result<void> reserve(const IpPrefix& prefix, const IpAddr& address) {
        return pools_.at(prefix).reserve(address);
    }
    [[nodiscard]] PoolUse use(const IpPrefix& prefix) const;

    // Whichever prefix it is of; one that is of none is nobody's.
    void release(const IpAddr& address);
    void note_freed(const IpAddr& address);

private:
    std::map<IpPrefix, AddressPool> pools_;
    std::vector<IpPrefix> host_prefixes_;
};

}  // namespace netkitd
