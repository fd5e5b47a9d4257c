// The addresses of one network: who has which, and which is given out next.
//
// Never-used addresses go first, in order; then freed ones, least recently freed first. A freed address rests for
// kAddressRest, so that a peer's late packets don't reach a stranger, unless nothing else is left. Memory is in
// proportion to the addresses in use or freed, never to the prefix.
#pragma once

#include <chrono>
#include <deque>
#include <set>

#include "base/ip_addr.h"
#include "base/result.h"

namespace netkitd {

inline constexpr std::chrono::seconds kAddressRest{30};

class AddressPool {
public:
    using Time = std::chrono::steady_clock::time_point;

    // `reserved` are never given out (the gateway); neither are the network and the broadcast address of IPv4.
    AddressPool(const IpPrefix& prefix, std::set<IpAddr> reserved);

    // The next free address, or ErrorKind::exhausted with the prefix and the count in use.
    [[nodiscard]] Result<IpAddr> allocate(Time now);
    // This very address; refused when it is in use, invalid when it is outside the prefix or reserved.
    [[nodiscard]] Result<void> reserve(const IpAddr& address);
    void release(const IpAddr& address, Time now);

    [[nodiscard]] std::size_t in_use() const;
    // Saturates at 2^63.
    [[nodiscard]] std::uint64_t capacity() const;

private:
    struct Freed {
        IpAddr address;
        Time since;
    };
    IpPrefix prefix_;
    std::set<IpAddr> reserved_;
    std::set<IpAddr> used_;
    std::deque<Freed> freed_;  // oldest first
    std::optional<IpAddr> next_;  // the first address that was never given out in order; empty at the end
};

}  // namespace netkitd
