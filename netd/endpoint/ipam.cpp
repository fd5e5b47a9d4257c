#include "endpoint/ipam.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace netkitd {
namespace {

// The prefix's last address: all host bits set.
IpAddr last_address(const IpPrefix& prefix) {
    auto bytes = prefix.address().bytes();
    for (std::size_t bit = prefix.length(); bit < prefix.address().size() * 8; ++bit) {
        bytes.at(bit / 8) = static_cast<std::uint8_t>(bytes.at(bit / 8) | (0x80U >> (bit % 8)));
    }
    if (prefix.address().is_v4()) {
        return IpAddr::v4_host_order(static_cast<std::uint32_t>(bytes[0]) << 24U |
                                     static_cast<std::uint32_t>(bytes[1]) << 16U |
                                     static_cast<std::uint32_t>(bytes[2]) << 8U | bytes[3]);
    }
    in6_addr address{};
    std::ranges::copy(bytes, std::begin(address.s6_addr));
    return IpAddr::v6(address);
}

}  // namespace

AddressPool::AddressPool(const IpPrefix& prefix, const std::set<IpAddr>& reserved)
    : prefix_(prefix), next_(prefix.address()) {
    std::ranges::copy_if(reserved, std::inserter(reserved_, reserved_.end()),
                         [&](const IpAddr& address) { return prefix.contains(address); });
    // Point-to-point prefixes have neither (RFC 3021 and RFC 6164).
    const bool has_special_addresses = prefix.length() + 1U < prefix.address().size() * 8;
    if (has_special_addresses) {
        reserved_.insert(prefix.address());
        if (prefix.address().is_v4()) {
            reserved_.insert(last_address(prefix));
        }
    }
}

std::uint64_t AddressPool::capacity() const {
    constexpr unsigned kSaturationBits = 63;
    const std::size_t host_bits = prefix_.address().size() * 8 - prefix_.length();
    if (host_bits > kSaturationBits) {
        return 1ULL << kSaturationBits;
    }
    return (1ULL << host_bits) - reserved_.size();
}

void AddressPool::set_host_prefixes(const std::vector<IpPrefix>& prefixes) {
    std::vector<IpPrefix> own;
    std::ranges::copy_if(prefixes, std::back_inserter(own),
                         [&](const IpPrefix& prefix) { return prefix.overlaps(prefix_); });
    if (own != host_prefixes_) {
        host_prefixes_ = std::move(own);
        // What the host gave back may be before next_: it counts as forgotten.
        forgot_ = true;
    }
}

const IpPrefix* AddressPool::host_prefix_of(const IpAddr& address) const {
    const auto found =
        std::ranges::find_if(host_prefixes_, [&](const IpPrefix& prefix) { return prefix.contains(address); });
    return found == host_prefixes_.end() ? nullptr : &*found;
}

// Moves next_ to the first address, from itself on, that was never given out.
void AddressPool::skip_taken() {
    while (next_) {
        const IpPrefix* const host = host_prefix_of(*next_);
        if (host == nullptr && !reserved_.contains(*next_) && !used_.contains(*next_) &&
            !freed_order_.contains(*next_)) {
            return;
        }
        // A prefix of the host's at once: it may have 2^60 addresses.
        const IpAddr last = host == nullptr ? *next_ : std::min(last_address(*host), last_address(prefix_));
        next_ = last == last_address(prefix_) ? std::nullopt : std::optional(last.next());
    }
}

Result<IpAddr> AddressPool::allocate() {
    skip_taken();
    if (!next_ && std::exchange(forgot_, false)) {
        next_ = prefix_.address();
        skip_taken();
    }
    const auto freed =
        std::ranges::find_if(freed_, [&](const auto& entry) { return host_prefix_of(entry.second) == nullptr; });
    if (!next_ && freed == freed_.end()) {
        return fail(ErrorKind::exhausted,
                    "no address is left in {}: all {} are in use; remove containers or configure a wider prefix",
                    prefix_.to_string(), used_.size());
    }
    const IpAddr address = next_ ? *next_ : freed->second;
    NK_TRY(reserve(address));
    return address;
}

Result<void> AddressPool::reserve(const IpAddr& address) {
    if (!prefix_.contains(address)) {
        return fail(ErrorKind::invalid, "{} is not in {}", address.to_string(), prefix_.to_string());
    }
    if (reserved_.contains(address)) {
        return fail(ErrorKind::invalid, "{} is reserved in {} (the gateway's, or the network's own)",
                    address.to_string(), prefix_.to_string());
    }
    if (const IpPrefix* const host = host_prefix_of(address); host != nullptr && !used_.contains(address)) {
        return fail(ErrorKind::refused, "{} is this host's own, or in {}, which it has a route of its own to",
                    address.to_string(), host->to_string());
    }
    if (!used_.insert(address).second) {
        return fail(ErrorKind::refused, "{} is in use by another container; `netkitctl endpoint list` shows which",
                    address.to_string());
    }
    if (const auto freed = freed_order_.find(address); freed != freed_order_.end()) {
        freed_.erase(freed->second);
        freed_order_.erase(freed);
    }
    return {};
}

void AddressPool::release(const IpAddr& address) {
    if (used_.erase(address) != 0) {
        rest(address);
    }
}

void AddressPool::note_freed(const IpAddr& address) {
    if (prefix_.contains(address) && !reserved_.contains(address) && !used_.contains(address) &&
        !freed_order_.contains(address)) {
        rest(address);
    }
}

void AddressPool::rest(const IpAddr& address) {
    freed_.emplace(releases_, address);
    freed_order_.emplace(address, releases_);
    ++releases_;
    if (freed_.size() > kRemembered) {
        freed_order_.erase(freed_.begin()->second);
        freed_.erase(freed_.begin());
        forgot_ = true;
    }
}

}  // namespace netkitd
