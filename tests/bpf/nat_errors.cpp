#include "bpf/nat_errors.h"

#include <linux/if_ether.h>
#include <netinet/in.h>

#include <array>
#include <numeric>
#include <string>

#include "bpf/nat_packets.h"
#include "bpf/nat_world.h"
#include "bpf/packets.h"

namespace netkitd::test {
namespace {

constexpr std::size_t kErrorHeader = 8;      // RFC 792
constexpr std::size_t kQuotedPorts = 8;      // of the transport header: what every error quotes (RFC 792)
constexpr std::size_t kHalfTcpChecksum = 9;  // behind them
constexpr std::size_t kFragmentHeader = 8;

const Net& net_of(const Conversation& c) {
    return c.is_ipv6() ? ipv6() : ipv4();
}

std::string other_remote(const Net& net) {
    return net.is_ipv6() ? "2001:db8:51::200" : "198.51.100.200";
}

// The error without its quote.
Sent error(Random& random, const Net& net, Packet addressed) {
    Sent sent{.packet = std::move(addressed), .protocol = net.icmp};
    add_network_layer(random, sent, net.is_ipv6());
    const IcmpType icmp = random.of(icmp_error_types(net));
    sent.packet.icmp(icmp.type, icmp.code).icmp_rest(static_cast<std::uint32_t>(random.next()));
    return sent;
}

// An extension header that is too far behind can't be read, nor can what follows it: that is a protocol that is not
// known (bpf/lib/parse.h).
bool is_within_reach(const SentError& error) {
    const auto& extensions = error.quoted.extensions;
    if (extensions.empty()) {
        return true;
    }
    const std::size_t begin = error.sent.transport_offset + kErrorHeader + 40;
    const std::size_t last = std::accumulate(extensions.begin(), extensions.end() - 1, begin);
    return extensions.size() <= kMostExtensions && last < kReach;
}

void quote_a_fragment(Sent& quoted, std::uint16_t offset, bool more, bool ipv6) {
    quoted.packet.fragment(offset, more);
    if (ipv6) {
        quoted.extensions.push_back(kFragmentHeader);
        quoted.transport_offset += kFragmentHeader;
    }
}

// What is quoted, and how much of it.
void quote(Random& random, SentError& error, const Net& net) {
    const bool plain = error.quoted.extensions.empty();
    const std::size_t twist = random.below(30);
    std::string& why_not = error.sent.untranslatable;
    std::string wrong = error.quoted.untranslatable.empty() ? "" : "no-flow";
    if (twist == 0) {
        quote_a_fragment(error.quoted, static_cast<std::uint16_t>(random.below(100) + 1), random.percent(50),
                         net.is_ipv6());
        wrong = "fragment";
    } else if (twist == 1) {
        quote_a_fragment(error.quoted, 0, true, net.is_ipv6());
    }
    const std::size_t ports = error.quoted.transport_offset - ETH_HLEN + kQuotedPorts;
    const std::size_t whole = error.quoted.packet.bytes().size() - ETH_HLEN;
    error.size = std::min(whole, random.percent(40) ? ports + random.below(60) : std::size_t{1200});
    if (error.quoted.protocol == IPPROTO_TCP && error.size == ports + kHalfTcpChecksum) {
        error.size--;  // half a checksum says nothing to anybody, and stays as it is
    }
    if (!is_within_reach(error)) {
        wrong = "protocol";
    } else if (twist == 2 && plain) {
        error.size = random.below(ports);
        wrong = "malformed";
    }
    // That is asked before what follows the addresses.
    if (error.sent.may_not_be_said && wrong != "malformed") {
        wrong = "no-flow";
    }
    error.sent.packet.quoting(error.quoted.packet, error.size);
    why_not = why_not.empty() ? wrong : why_not;
    add_damage(random, error.sent);
}

}  // namespace

SentError error_in(Random& random, const Conversation& c, std::uint16_t port) {
    const Net& net = net_of(c);
    SentError made;
    made.other_end = random.of(std::array<std::string, 3>{c.remote, other_remote(net), net.other_node});
    made.sent = error(random, net, Packet().eth(kUplinkMac, kRouterMac).ip(made.other_end, net.node));
    Conversation outside = c;
    outside.container = net.node;
    outside.port = port;
    const auto back = [&](const Packet& packet) { return Packet(packet).from(c.container, c.port); };
    do {
        made.quoted = packet_out(random, outside, back);
    } while (made.quoted.untranslatable == "protocol");
    if (random.percent(3)) {
        made.quoted.packet.ip(net.node, other_remote(net));
        made.quoted.untranslatable = "no-flow";
    } else if (random.percent(3)) {
        made.quoted.packet.ip(net.other_node, c.remote);
        made.quoted.untranslatable = "no-flow";
    }
    quote(random, made, net);
    return made;
}

SentError error_out(Random& random, const Conversation& c) {
    const Net& net = net_of(c);
    SentError made;
    made.other_end = random.percent(3) ? other_remote(net) : c.remote;
    made.sent = error(random, net, Packet().ip(c.container, made.other_end));
    do {
        made.quoted = packet_in(random, c, c.port);
    } while (made.quoted.untranslatable == "protocol");
    made.quoted.packet.to(c.container, c.port);
    if (made.other_end != c.remote) {
        made.sent.may_not_be_said = true;
    } else if (const std::string other = address_of(random.below(kContainers), net.is_ipv6());
               random.percent(4) && other != c.container) {
        made.quoted.packet.ip(c.remote, other);
        made.sent.may_not_be_said = true;  // whoever has such a flow, it is not this container's
    }
    const bool in_a_fragment = made.sent.untranslatable == "fragment";
    quote(random, made, net);
    // What is behind too many extensions is not asked what it says.
    made.sent.may_not_be_said = made.sent.untranslatable != "protocol" &&
                                (made.sent.may_not_be_said || in_a_fragment || made.sent.untranslatable == "malformed");
    return made;
}

}  // namespace netkitd::test
