#include "base/ip_addr.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "base/parse_number.h"

namespace netkitd {
namespace {

// The first `length` bits of `bytes`; the rest zero.
std::array<std::uint8_t, 16> masked(std::array<std::uint8_t, 16> bytes, unsigned length) {
    for (unsigned i = 0; i < bytes.size(); ++i) {
        const unsigned kept = std::clamp(length, 8 * i, 8 * i + 8) - 8 * i;
        bytes.at(i) = static_cast<std::uint8_t>(bytes.at(i) & (0xff00U >> kept));
    }
    return bytes;
}

IpAddr from_bytes(IpFamily family, const std::array<std::uint8_t, 16>& bytes) {
    if (family == IpFamily::v4) {
        in_addr address{};
        std::memcpy(&address, bytes.data(), sizeof(address));
        return IpAddr::v4(address);
    }
    in6_addr address{};
    std::memcpy(&address, bytes.data(), sizeof(address));
    return IpAddr::v6(address);
}

}  // namespace

IpAddr IpAddr::v4(in_addr address) {
    IpAddr result;
    std::memcpy(result.bytes_.data(), &address, sizeof(address));
    return result;
}

IpAddr IpAddr::v4_host_order(std::uint32_t address) {
    return v4(in_addr{.s_addr = htonl(address)});
}

IpAddr IpAddr::v6(const in6_addr& address) {
    IpAddr result;
    result.family_ = IpFamily::v6;
    std::memcpy(result.bytes_.data(), &address, sizeof(address));
    return result;
}

Result<IpAddr> IpAddr::parse(std::string_view text) {
    std::array<char, INET6_ADDRSTRLEN> buffer{};
    if (text.size() < buffer.size() && !text.contains('\0')) {
        std::ranges::copy(text, buffer.begin());
        in_addr address4{};
        if (inet_pton(AF_INET, buffer.data(), &address4) == 1) {
            return v4(address4);
        }
        in6_addr address6{};
        if (inet_pton(AF_INET6, buffer.data(), &address6) == 1) {
            return v6(address6);
        }
    }
    return fail(ErrorKind::invalid, "'{}' is not an IP address", text.substr(0, 64));
}

in_addr_t IpAddr::v4_be32() const {
    in_addr_t word = 0;
    std::memcpy(&word, bytes_.data(), sizeof(word));
    return word;
}

std::uint32_t IpAddr::v4_host_order() const {
    return ntohl(v4_be32());
}

in6_addr IpAddr::v6_bytes() const {
    in6_addr address{};
    std::memcpy(&address, bytes_.data(), sizeof(address));
    return address;
}

bool IpAddr::is_loopback() const {
    return is_v4() ? v4_host_order() >> 24 == IN_LOOPBACKNET : *this == v6(in6addr_loopback);
}

IpAddr IpAddr::next() const {
    IpAddr result = *this;
    for (std::size_t i = size(); i-- > 0;) {
        if (++result.bytes_.at(i) != 0) {
            break;  // no carry
        }
    }
    return result;
}

std::string IpAddr::to_string() const {
    std::array<char, INET6_ADDRSTRLEN> buffer{};
    inet_ntop(address_family(), bytes_.data(), buffer.data(), buffer.size());
    return buffer.data();
}

IpPrefix::IpPrefix(const IpAddr& address, std::uint8_t length)
    : address_(from_bytes(address.family(), masked(address.bytes(), length))), length_(length) {}

Result<IpPrefix> IpPrefix::parse(std::string_view text) {
    const auto slash = text.find('/');
    if (slash == std::string_view::npos) {
        return fail(ErrorKind::invalid, "'{}' is not a prefix (like 10.77.0.0/16)", text.substr(0, 64));
    }
    const IpAddr address = NK_TRY(IpAddr::parse(text.substr(0, slash)));
    const std::string_view digits = text.substr(slash + 1);
    const auto length = parse_number<std::uint8_t>(digits);
    if (!length || *length > address.size() * 8) {
        return fail(ErrorKind::invalid, "'{}' is not a prefix length for {}", digits.substr(0, 8), address.to_string());
    }
    const IpPrefix prefix(address, *length);
    if (prefix.address() != address) {
        return fail(ErrorKind::invalid, "'{}' has host bits set; did you mean {}?", text, prefix.to_string());
    }
    return prefix;
}

bool IpPrefix::contains(const IpAddr& address) const {
    return address.family() == address_.family() && IpPrefix(address, length_).address() == address_;
}

Result<IpPrefix> IpPrefix::parse_or_address(std::string_view text) {
    return text.contains('/') ? parse(text) : IpAddr::parse(text).transform(&IpPrefix::single);
}

IpPrefix IpPrefix::single(const IpAddr& address) {
    return {address, static_cast<std::uint8_t>(address.size() * 8)};
}

bool IpPrefix::is_single() const {
    return length_ == address_.size() * 8;
}

bool IpPrefix::holds(const IpPrefix& other) const {
    return length_ <= other.length_ && contains(other.address_);
}

bool IpPrefix::overlaps(const IpPrefix& other) const {
    return holds(other) || other.holds(*this);
}

std::string IpPrefix::to_string() const {
    return formatted("{}/{}", address_.to_string(), length_);
}

}  // namespace netkitd
