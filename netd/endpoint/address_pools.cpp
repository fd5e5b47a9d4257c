#include "endpoint/address_pools.h"

#include <utility>

#include "config/network_config.h"

namespace netkitd {
namespace {

AddressPool pool_of(const IpPrefix& prefix) {
    return {prefix, {gateway_of(prefix)}};
}

}  // namespace

void AddressPools::reconfigure(const std::vector<IpPrefix>& prefixes) {
    std::map<IpPrefix, AddressPool> pools;
    for (const IpPrefix& prefix : prefixes) {
        if (auto kept = pools_.extract(prefix)) {
            pools.insert(std::move(kept));
        } else {
            pools.emplace(prefix, pool_of(prefix)).first->second.set_host_prefixes(host_prefixes_);
        }
    }
    pools_ = std::move(pools);
}

void AddressPools::set_host_prefixes(const std::vector<IpPrefix>& prefixes) {
    host_prefixes_ = prefixes;
    for (auto& [prefix, pool] : pools_) {
        pool.set_host_prefixes(prefixes);
    }
}

PoolUse AddressPools::use(const IpPrefix& prefix) const {
    const AddressPool& pool = pools_.at(prefix);
    return {.in_use = pool.in_use(), .capacity = pool.capacity()};
}

void AddressPools::release(const IpAddr& address) {
    for (auto& [prefix, pool] : pools_) {
        if (prefix.contains(address)) {
            pool.release(address);
        }
    }
}

void AddressPools::note_freed(const IpAddr& address) {
    for (auto& [prefix, pool] : pools_) {
        pool.note_freed(address);
    }
}

}  // namespace netkitd
