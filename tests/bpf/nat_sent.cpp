#include "bpf/nat_sent.h"

#include <linux/if_ether.h>
#include <netinet/in.h>

#include <algorithm>

namespace netkitd::test {
namespace {

constexpr std::size_t kIpv4Header = 20;  // RFC 791, 3.1
constexpr std::size_t kIpv6Header = 40;  // RFC 8200, 3
constexpr std::size_t kFragmentHeader = 8;

bool is_icmp(std::uint8_t protocol) {
    return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

// From the transport header: RFC 9293, 3.1; RFC 768 and RFC 3828; RFC 792. (SCTP's is never changed.)
std::size_t checksum_offset(std::uint8_t protocol) {
    return protocol == IPPROTO_TCP ? 16 : is_icmp(protocol) ? 2 : 6;
}

std::uint16_t read16(std::span<const std::uint8_t> frame, std::size_t offset) {
    return offset + 1 < frame.size() ? static_cast<std::uint16_t>(frame[offset] << 8 | frame[offset + 1]) : 0;
}

void write16(Bytes& frame, std::size_t offset, std::size_t value) {
    frame.at(offset) = static_cast<std::uint8_t>(value >> 8 & 0xff);
    frame.at(offset + 1) = static_cast<std::uint8_t>(value & 0xff);
}

// One's complement, in which 0 and 0xffff are the same (RFC 1071).
std::uint16_t add(std::uint16_t one, std::uint16_t other) {
    const std::uint32_t sum = std::uint32_t{one} + other;
    return static_cast<std::uint16_t>((sum & 0xffff) + (sum >> 16));
}

bool is_same_sum(std::uint16_t one, std::uint16_t other) {
    return one == other || (one % 0xffff == 0 && other % 0xffff == 0);
}

Bytes slice(const Bytes& bytes, std::size_t begin, std::size_t size) {
    const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(begin);
    return {from, from + static_cast<std::ptrdiff_t>(size)};
}

// Only the first one has the options: no operation is one that is not copied (RFC 791, 3.1).
Bytes ipv4_fragment(const Piece& piece, const Bytes& whole) {
    constexpr std::size_t kDontFragment = 0x4000;
    constexpr std::size_t kMoreFragments = 0x2000;
    const std::size_t header = piece.is_later() ? kIpv4Header : piece.begin - ETH_HLEN;
    Bytes frame = slice(whole, 0, ETH_HLEN + header);
    frame.at(ETH_HLEN) = static_cast<std::uint8_t>(0x40 | header / 4);
    write16(frame, ETH_HLEN + 2, header + piece.size);
    write16(frame, ETH_HLEN + 4, piece.id);
    write16(frame, ETH_HLEN + 6,
            (read16(whole, ETH_HLEN + 6) & kDontFragment) | (piece.more ? kMoreFragments : 0) | piece.offset / 8);
    write16(frame, ETH_HLEN + 10, 0);
    write16(frame, ETH_HLEN + 10, internet_checksum(std::span(frame).subspan(ETH_HLEN)));
    return frame;
}

// Where the header that ends at `end` says what is next.
std::size_t next_header_before(const Bytes& whole, std::size_t end) {
    std::size_t says_next = ETH_HLEN + 6;
    for (std::size_t at = ETH_HLEN + kIpv6Header; at < end; at += (std::size_t{whole.at(at + 1)} + 1) * 8) {
        says_next = at;
    }
    return says_next;
}

Bytes ipv6_fragment(const Piece& piece, const Bytes& whole) {
    Bytes frame = slice(whole, 0, piece.begin);
    const std::size_t says_next = next_header_before(whole, piece.begin);
    frame.at(says_next) = IPPROTO_FRAGMENT;
    write16(frame, ETH_HLEN + 4, piece.begin - ETH_HLEN - kIpv6Header + kFragmentHeader + piece.size);
    frame.insert(frame.end(), kFragmentHeader, 0);
    frame.at(piece.begin) = whole.at(says_next);
    write16(frame, piece.begin + 2, piece.offset | (piece.more ? 1 : 0));
    write16(frame, piece.begin + 4, piece.id >> 16);
    write16(frame, piece.begin + 6, piece.id & 0xffff);
    return frame;
}

}  // namespace

Bytes Piece::of(const Bytes& whole) const {
    Bytes frame = ipv6 ? ipv6_fragment(*this, whole) : ipv4_fragment(*this, whole);
    const Bytes part = slice(whole, begin + offset, size);
    frame.insert(frame.end(), part.begin(), part.end());
    return frame;
}

Bytes Sent::whole_frame() const {
    Bytes bytes = packet.bytes();
    if (damage != 0) {
        const std::size_t offset = transport_offset + checksum_offset(protocol);
        write16(bytes, offset, add(read16(bytes, offset), damage));
    }
    return bytes;
}

Bytes Sent::frame() const {
    return piece ? piece->of(whole_frame()) : whole_frame();
}

Bytes Sent::frame_of(const Packet& translated, std::span<const std::uint8_t> seen) const {
    Bytes bytes = translated.bytes();
    if (is_later_fragment()) {
        const Bytes data = whole_frame();
        std::ranges::copy(std::span(data).subspan(piece->begin), std::span(bytes).subspan(piece->begin).begin());
    } else if (damage != 0) {
        const std::size_t offset = checksum_offset(protocol);
        const std::uint16_t seen_sum = read16(seen, transport_in_frame() + offset);
        if (is_same_sum(seen_sum, add(read16(bytes, transport_offset + offset), damage))) {
            write16(bytes, transport_offset + offset, seen_sum);
        }
    }
    return piece ? piece->of(bytes) : bytes;
}

std::size_t Sent::transport_in_frame() const {
    return transport_offset + (piece && piece->ipv6 ? kFragmentHeader : 0);
}

std::uint16_t Sent::source_port(std::span<const std::uint8_t> frame) const {
    return read16(frame, transport_in_frame() + (is_icmp(protocol) ? 4 : 0));
}

}  // namespace netkitd::test
