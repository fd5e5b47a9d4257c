// describe(): a frame as text, for the eyes of whoever reads a failed test.
#include <arpa/inet.h>
#include <netinet/in.h>

#include <array>

#include "base/format.h"
#include "harness/packet.h"

namespace netkitd::test {
namespace {

constexpr std::size_t kEthernet = 14;
constexpr std::uint16_t kTypeIpv4 = 0x0800;
constexpr std::uint16_t kTypeIpv6 = 0x86dd;

// Big-endian reads from a frame; what is beyond its end reads as zero, and is said to be missing elsewhere.
class Reader {
public:
    explicit Reader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
    [[nodiscard]] std::size_t size() const { return bytes_.size(); }
    [[nodiscard]] unsigned u8(std::size_t offset) const { return offset < bytes_.size() ? bytes_[offset] : 0; }
    [[nodiscard]] unsigned u16(std::size_t offset) const { return u8(offset) << 8 | u8(offset + 1); }
    [[nodiscard]] Reader from(std::size_t offset) const {
        return Reader(bytes_.subspan(std::min(offset, bytes_.size())));
    }
    [[nodiscard]] std::span<const std::uint8_t> first(std::size_t count) const {
        return bytes_.first(std::min(count, bytes_.size()));
    }
    [[nodiscard]] std::span<const std::uint8_t> all() const { return bytes_; }

private:
    std::span<const std::uint8_t> bytes_;
};

std::string mac(const Reader& r, std::size_t offset) {
    return formatted("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", r.u8(offset), r.u8(offset + 1), r.u8(offset + 2),
                     r.u8(offset + 3), r.u8(offset + 4), r.u8(offset + 5));
}

std::string address(const Reader& r, std::size_t offset) {
    return formatted("{}.{}.{}.{}", r.u8(offset), r.u8(offset + 1), r.u8(offset + 2), r.u8(offset + 3));
}

std::string hex(const Reader& r) {
    std::string text = formatted("payload {} bytes", r.size());
    for (std::size_t i = 0; i < r.size(); i++) {
        text += i % 32 == 0 ? formatted("\n  {:02x}", r.u8(i)) : formatted(" {:02x}", r.u8(i));
    }
    return text + "\n";
}

// A block that holds its own checksum sums to zero (RFC 1071, 1).
std::string verdict(std::uint16_t sum_with_checksum) {
    return sum_with_checksum == 0 ? "checksum ok" : "checksum BAD";
}

std::string transport_verdict(std::span<const std::uint8_t> addresses, const Reader& l4, std::uint8_t protocol) {
    if (protocol == IPPROTO_ICMP) {
        return verdict(internet_checksum(l4.all()));
    }
    if (protocol == IPPROTO_UDP && l4.u16(6) == 0) {
        return "no checksum";
    }
    const Bytes pseudo = pseudo_header(addresses, protocol, l4.size());
    const std::size_t coverage = protocol == IPPROTO_UDPLITE && l4.u16(4) != 0 ? l4.u16(4) : l4.size();
    return verdict(internet_checksum(pseudo, l4.first(coverage)));
}

std::string tcp_flags(unsigned flags) {
    std::string text;
    for (const auto& [bit, name] : {std::pair(1U, "FIN"), {2U, "SYN"}, {4U, "RST"}, {16U, "ACK"}}) {
        text += flags & bit ? std::string(" ") + name : "";
    }
    return text;
}

std::string describe_transport(std::span<const std::uint8_t> addresses, const Reader& l4, std::uint8_t protocol) {
    const std::string sum = transport_verdict(addresses, l4, protocol);
    switch (protocol) {
        case IPPROTO_TCP:
            return formatted("tcp {} > {}{} header {}, {}\n", l4.u16(0), l4.u16(2), tcp_flags(l4.u8(13)),
                             l4.u8(12) >> 4, sum) +
                   hex(l4.from(20));
        case IPPROTO_UDP:
            return formatted("udp {} > {} length {}, {}\n", l4.u16(0), l4.u16(2), l4.u16(4), sum) + hex(l4.from(8));
        case IPPROTO_UDPLITE:
            return formatted("udplite {} > {} coverage {}, {}\n", l4.u16(0), l4.u16(2), l4.u16(4), sum) +
                   hex(l4.from(8));
        case IPPROTO_SCTP:
            return formatted("sctp {} > {} checksum {:#x}{:04x} chunk {}\n", l4.u16(0), l4.u16(2), l4.u16(8),
                             l4.u16(10), l4.u8(12)) +
                   hex(l4.from(16));
        case IPPROTO_ICMP:
        case IPPROTO_ICMPV6:
            return formatted("icmp type {} code {} id {} sequence {}, {}\n", l4.u8(0), l4.u8(1), l4.u16(4), l4.u16(6),
                             sum) +
                   hex(l4.from(8));
        default:
            return formatted("protocol {}\n", protocol) + hex(l4);
    }
}

std::string describe_ipv4(const Reader& ip) {
    const std::size_t header = std::size_t{ip.u8(0) & 0xf} * 4;
    std::string text = formatted("ipv4 {} > {} ttl {} version {} header {} length {} id {:#x} fragment {:#x}, {}\n",
                                 address(ip, 12), address(ip, 16), ip.u8(8), ip.u8(0) >> 4, header, ip.u16(2),
                                 ip.u16(4), ip.u16(6), verdict(internet_checksum(ip.first(header))));
    if (header < 20 || ip.size() < header) {
        return text + hex(ip);
    }
    return text + describe_transport(ip.from(12).first(8), ip.from(header), static_cast<std::uint8_t>(ip.u8(9)));
}

std::string address6(const Reader& r, std::size_t offset) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    inet_ntop(AF_INET6, r.from(offset).first(16).data(), text.data(), text.size());
    return text.data();
}

bool is_extension(std::uint8_t number) {
    return number == IPPROTO_HOPOPTS || number == IPPROTO_ROUTING || number == IPPROTO_FRAGMENT ||
           number == IPPROTO_DSTOPTS;
}

// RFC 8200: the header's place for its own length, but for the fragment header, which has a fixed one.
std::size_t extension_size(std::uint8_t number, const Reader& header) {
    return number == IPPROTO_FRAGMENT ? 8 : (header.u8(1) + std::size_t{1}) * 8;
}

std::string describe_ipv6(const Reader& ip) {
    std::string text =
        formatted("ipv6 {} > {} hop limit {} version {} class and label {:#x} length {}\n", address6(ip, 8),
                  address6(ip, 24), ip.u8(7), ip.u8(0) >> 4, (ip.u8(0) & 0xf) << 16 | ip.u16(1), ip.u16(4));
    Reader rest = ip.from(40);
    auto next = static_cast<std::uint8_t>(ip.u8(6));
    while (is_extension(next) && rest.size() >= 8) {
        const std::size_t size = extension_size(next, rest);
        text += formatted("extension {} {}", next, hex(Reader(rest.first(size))));
        next = static_cast<std::uint8_t>(rest.u8(0));
        rest = rest.from(size);
    }
    return text + describe_transport(ip.from(8).first(32), rest, next);
}

}  // namespace

std::string describe(std::span<const std::uint8_t> frame) {
    const Reader r(frame);
    const std::string ethernet = formatted("eth {} > {} type {:#06x}\n", mac(r, 6), mac(r, 0), r.u16(12));
    const Reader network = r.from(kEthernet);
    if (r.u16(12) == kTypeIpv4 && network.size() >= 20) {
        return ethernet + describe_ipv4(network);
    }
    if (r.u16(12) == kTypeIpv6 && network.size() >= 40) {
        return ethernet + describe_ipv6(network);
    }
    return ethernet + hex(network);
}

}  // namespace netkitd::test
