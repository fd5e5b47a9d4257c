// The addresses of one network: who has which, and which is given out next.
//
// Never-used addresses go first, in order; then freed ones, least recently freed first. So a freed address rests for as
// long as anything else is left (in the default /16: 65,532 attaches long), and a peer's late packets don't reach a
// stranger; no clock is needed for that. Its owner may ask for it back (reserve) at any time. Memory is in proportion
// to the addresses in use, never to the prefix: of the freed ones the last kRemembered are known, and what was freed
// before them counts as never used.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/ip_addr.h"
#include "base/result.h"
#include "store/store.h"

namespace netkitd {

class AddressPool {
public:
    static constexpr std::size_t kRemembered = kFreedAddressesKept;

    // `reserved` are never given out (the gateway); neither are the network and the broadcast address of IPv4 and the
    // subnet-router anycast address of IPv6 (RFC 4291, section 2.6.1).
    AddressPool(const IpPrefix& prefix, const std::set<IpAddr>& reserved);

    // Prefixes that are the host's own: none of theirs is given out, though one that is in use stays so.
    void set_host_prefixes(const std::vector<IpPrefix>& prefixes);

    // The next free address, or ErrorKind::exhausted with the prefix and the count in use.
    [[nodiscard]] Result<IpAddr> allocate();
    // This very address; refused when it is in use, invalid when it is outside the prefix or reserved.
    [[nodiscard]] Result<void> reserve(const IpAddr& address);
    // An address that is not in use is left as it is.
    void release(const IpAddr& address);
    // What an earlier daemon released, in that order. One in use, reserved or of another prefix is left as it is.
    void note_freed(const IpAddr& address);

    [[nodiscard]] std::size_t in_use() const { return used_.size(); }
    // How many addresses can be in use at once. Saturates at 2^63.
    [[nodiscard]] std::uint64_t capacity() const;

private:
    void skip_taken();
    [[nodiscard]] const IpPrefix* host_prefix_of(const IpAddr& address) const;
    void rest(const IpAddr& address);

    IpPrefix prefix_;
    std::set<IpAddr> reserved_;  // inside prefix_
    std::vector<IpPrefix> host_prefixes_;
    std::set<IpAddr> used_;
    std::map<std::uint64_t, IpAddr> freed_;        // by the order of release: the oldest is first
    std::map<IpAddr, std::uint64_t> freed_order_;  // the key in freed_
    std::uint64_t releases_ = 0;
    std::optional<IpAddr> next_;  // every address before it is reserved or was given out; empty at the end
    bool forgot_ = false;         // some that were freed are not known any more: they are found by beginning anew
};

}  // namespace netkitd
