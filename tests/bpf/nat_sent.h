// A packet that is sent, and what the model of NAT (nat_model.h) has to know of it: whole, a fragment of one, or an
// ICMP error about one.
#pragma once

#include <linux/if_ether.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/packet.h"

namespace netkitd::test {

// A part of a packet, as a fragment carries it: RFC 791, 3.2, and RFC 8200, 4.5. One that is first and last at once is
// a whole packet (of IPv6, with a header that says so: RFC 6946).
struct Piece {
    std::size_t begin = 0;   // of what is cut, in the whole packet's frame: behind the headers that all fragments have
    std::size_t offset = 0;  // in there
    std::size_t size = 0;
    bool more = false;
    std::uint32_t id = 0;
    bool ipv6 = false;

    [[nodiscard]] bool is_fragment() const { return offset != 0 || more; }
    [[nodiscard]] bool is_later() const { return offset != 0; }
    [[nodiscard]] Bytes of(const Bytes& whole) const;
};

// IPv6: what is behind more of them, or too far behind, is of a protocol that is not known (bpf/lib/packet/parse.h).
constexpr std::size_t kMostExtensions = 4;
constexpr std::size_t kReach = 255;  // in the frame

struct Sent {
    Packet packet;  // the whole one
    std::uint8_t protocol = 0;
    std::size_t transport_offset = 0;          // in the frame
    std::vector<std::size_t> extensions = {};  // IPv6: their sizes
    std::uint8_t ttl = 64;
    bool syn = false;  // these four: TCP's flags, or what is like them in SCTP
    bool ack = false;
    bool fin = false;
    bool rst = false;
    // Nothing that can be translated: an echo reply that nobody asked for, say. Why such a packet is dropped.
    std::string untranslatable = {};
    // An error that a container may not tell anybody: not about what it got from the one whom it tells, or in a
    // fragment.
    bool may_not_be_said = false;
    // Added to its transport checksum: it was wrong when it came, and a translation must not make it right.
    std::uint16_t damage = 0;
    std::optional<Piece> piece = std::nullopt;  // only that part of it is sent

    // Nobody can tell what it says: a container's goes nowhere.
    [[nodiscard]] bool is_unreadable() const { return transport_offset > kReach; }
    // Without options or extension headers.
    [[nodiscard]] bool is_plain(bool ipv6) const { return transport_offset == ETH_HLEN + (ipv6 ? 40 : 20); }
    [[nodiscard]] bool is_fragment() const { return piece && piece->is_fragment(); }
    [[nodiscard]] bool is_later_fragment() const { return piece && piece->is_later(); }
    [[nodiscard]] Bytes frame() const;
    // The frame if `translated` is what becomes of the packet. A checksum that was wrong stays as wrong as it was;
    // where it can be written in two ways (zero, RFC 1071), it is as in `seen`. What a later fragment carries stays as
    // it is, even the rest of a transport header that the first one had no room for.
    [[nodiscard]] Bytes frame_of(const Packet& translated, std::span<const std::uint8_t> seen) const;
    // Of a whole packet's frame, or of one with the transport header: its source port, or its echo id.
    [[nodiscard]] std::uint16_t source_port(std::span<const std::uint8_t> frame) const;

private:
    [[nodiscard]] Bytes whole_frame() const;
    [[nodiscard]] std::size_t transport_in_frame() const;
};

// An ICMP error.
struct SentError {
    Sent sent;
    Sent quoted;            // the packet that it is about, as whoever complains got it
    std::size_t size = 0;   // as far as it is quoted: from its IP header on
    std::string other_end;  // outside: whom the error is from, or goes to
};

}  // namespace netkitd::test
