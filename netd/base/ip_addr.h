// IP addresses and prefixes as values. Bytes are held in network order, as on the wire.
#pragma once

#include <netinet/in.h>

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace netkitd {

enum class IpFamily : std::uint8_t { v4, v6 };

class IpAddr {
public:
    // 0.0.0.0
    IpAddr() = default;
    // `address` is in network order.
    [[nodiscard]] static IpAddr v4(in_addr address);
    // `address` is in host order: 0x0a000001 is 10.0.0.1.
    [[nodiscard]] static IpAddr v4_host_order(std::uint32_t address);
    [[nodiscard]] static IpAddr v6(const in6_addr& address);
    // Dotted quad or RFC 4291 text, nothing else: no prefix length, zone, port or white space.
    [[nodiscard]] static Result<IpAddr> parse(std::string_view text);

    [[nodiscard]] IpFamily family() const { return family_; }
    [[nodiscard]] bool is_v4() const { return family_ == IpFamily::v4; }
    // 4 or 16.
    [[nodiscard]] std::size_t size() const { return is_v4() ? 4 : 16; }
    [[nodiscard]] int address_family() const { return is_v4() ? AF_INET : AF_INET6; }
    // The first size() bytes are the address, the rest are zero.
    [[nodiscard]] const std::array<std::uint8_t, 16>& bytes() const { return bytes_; }
    // The IPv4 address as a big-endian word, for kernel structures. Only for is_v4().
    [[nodiscard]] in_addr_t v4_be32() const;
    [[nodiscard]] std::uint32_t v4_host_order() const;
    [[nodiscard]] in6_addr v6_bytes() const;
    // RFC 1122, 3.2.1.3; RFC 4291, 2.5.3.
    [[nodiscard]] bool is_loopback() const;
    // The address after this one; undefined for the last of its family.
    [[nodiscard]] IpAddr next() const;
    [[nodiscard]] std::string to_string() const;

    auto operator<=>(const IpAddr&) const = default;

private:
    IpFamily family_ = IpFamily::v4;
    std::array<std::uint8_t, 16> bytes_{};
};

class IpPrefix {
public:
    IpPrefix() = default;
    // The host bits of `address` are cleared. `length` must be at most 32 or 128.
    IpPrefix(const IpAddr& address, std::uint8_t length);
    // "10.77.0.0/16". Host bits that are set are an error: they are a typo more often than not.
    [[nodiscard]] static Result<IpPrefix> parse(std::string_view text);
    // Or an address, which stands for itself alone.
    [[nodiscard]] static Result<IpPrefix> parse_or_address(std::string_view text);
    // A /32 or a /128.
    [[nodiscard]] static IpPrefix single(const IpAddr& address);

    [[nodiscard]] const IpAddr& address() const { return address_; }
    [[nodiscard]] std::uint8_t length() const { return length_; }
    [[nodiscard]] bool contains(const IpAddr& address) const;
    [[nodiscard]] bool is_single() const;
    // All of `other`.
    [[nodiscard]] bool holds(const IpPrefix& other) const;
    [[nodiscard]] bool overlaps(const IpPrefix& other) const;
    [[nodiscard]] std::string to_string() const;

    auto operator<=>(const IpPrefix&) const = default;

private:
    IpAddr address_;
    std::uint8_t length_ = 0;
};

}  // namespace netkitd
