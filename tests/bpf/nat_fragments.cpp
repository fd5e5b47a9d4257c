#include "bpf/nat_fragments.h"

#include <linux/if_ether.h>
#include <netinet/in.h>

#include <numeric>

namespace netkitd::test {
namespace {

constexpr std::size_t kUnit = 8;  // of a fragment's offset
constexpr std::size_t kIpv6Header = 40;
constexpr std::size_t kFragmentHeader = 8;

bool is_ipv6(const Bytes& frame) {
    return frame.at(12) == 0x86;
}

// RFC 9293, 3.1; RFC 9260, 3.1; RFC 768, RFC 3828 and RFC 792.
std::size_t transport_header_size(const Sent& sent, const Bytes& frame) {
    if (sent.protocol == IPPROTO_TCP) {
        return std::size_t{frame.at(sent.transport_offset + 12)} / 16 * 4;
    }
    return sent.protocol == IPPROTO_SCTP ? 12 : 8;
}

std::size_t units(std::size_t bytes) {
    return (bytes + kUnit - 1) / kUnit;
}

// Behind the IPv4 header, or behind any of IPv6's extension headers.
std::size_t random_begin(Random& random, const Sent& sent, bool ipv6) {
    if (!ipv6) {
        return sent.transport_offset;
    }
    const auto kept = static_cast<std::ptrdiff_t>(random.below(sent.extensions.size() + 1));
    return std::accumulate(sent.extensions.begin(), sent.extensions.begin() + kept, ETH_HLEN + kIpv6Header);
}

// Some are used again soon, by all containers.
std::uint32_t random_id(Random& random, bool ipv6) {
    const std::uint64_t id = random.percent(50) ? random.below(4) : random.next();
    return static_cast<std::uint32_t>(ipv6 ? id : id & 0xffff);
}

// Where the pieces end, from `begin` on; nothing if the first one has no room. It mostly has the whole transport
// header.
std::vector<std::size_t> random_ends(Random& random, std::size_t least_units, std::size_t size, std::size_t count) {
    const std::size_t most_units = units(size) - 1;  // leave something for the last
    if (least_units > most_units) {
        return {};
    }
    std::vector<std::size_t> ends{least_units + random.below(most_units - least_units + 1)};
    while (ends.size() + 1 < count && ends.back() < most_units) {
        ends.push_back(ends.back() + 1 + random.below(most_units - ends.back()));
    }
    for (std::size_t& end : ends) {
        end *= kUnit;
    }
    ends.push_back(size);
    return ends;
}

// Nothing if this packet can't be cut so.
std::vector<Sent> cut(Random& random, const Sent& whole, std::size_t count) {
    const Bytes frame = whole.frame();
    const bool ipv6 = is_ipv6(frame);
    const bool has_room =
        whole.extensions.size() < kMostExtensions && whole.transport_offset + kFragmentHeader <= kReach;
    Piece piece{.begin = random_begin(random, whole, ipv6), .id = random_id(random, ipv6), .ipv6 = ipv6};
    const std::size_t before = whole.transport_offset - piece.begin;
    const std::size_t headers = before + transport_header_size(whole, frame);
    const std::size_t size = frame.size() - piece.begin;
    const std::size_t least = random.percent(93) ? headers : before + kUnit;
    const auto ends = count == 1 ? std::vector{size} : random_ends(random, units(least), size, count);
    std::vector<Sent> pieces;
    for (const std::size_t end : has_room ? ends : std::vector<std::size_t>{}) {
        piece.size = end - piece.offset;
        piece.more = end != size;
        pieces.push_back(whole);
        pieces.back().piece = piece;
        piece.offset = end;
    }
    // RFC 1858, 3; RFC 7112, 4.
    if (!pieces.empty() && pieces.front().piece->size < headers) {
        pieces.front().untranslatable = "fragment";
    }
    return pieces;
}

}  // namespace

Sent fragment(Random& random, std::size_t number, std::size_t count, const std::function<Sent(Random&)>& whole) {
    std::vector<Sent> pieces;
    while (pieces.empty()) {
        pieces = cut(random, whole(random), count);
    }
    return pieces[number % pieces.size()];
}

}  // namespace netkitd::test
