#include "bpf/nat_packets.h"

#include <linux/if_ether.h>
#include <netinet/in.h>

#include <array>
#include <cstring>
#include <string>

#include "bpf/packets.h"

namespace netkitd::test {
namespace {

std::string random_bytes(Random& random, std::size_t size) {
    std::string bytes(size, '\0');
    for (std::size_t i = 0; i < size; i += 8) {
        const std::uint64_t word = random.next();
        std::memcpy(bytes.data() + i, &word, std::min<std::size_t>(8, size - i));
    }
    return bytes;
}

std::size_t random_size(Random& random) {
    return random.percent(85) ? random.below(64) : random.below(1100);
}

void add_tcp(Random& random, Sent& sent, std::uint16_t source, std::uint16_t destination) {
    sent.packet.tcp(source, destination);
    sent.ack = random.percent(85);
    sent.syn = random.percent(15);
    sent.fin = random.percent(8);
    sent.rst = random.percent(4);
    sent.syn ? (void)sent.packet.syn() : void();
    sent.ack ? (void)sent.packet.ack() : void();
    sent.fin ? (void)sent.packet.fin() : void();
    sent.rst ? (void)sent.packet.rst() : void();
    const std::size_t option_words = random.percent(30) ? random.below(10) + 1 : 0;
    sent.packet.tcp_header_words(static_cast<std::uint8_t>(5 + option_words));
    sent.packet.payload(random_bytes(random, 4 * option_words + random_size(random)));
}

// A payload that makes the checksum of `translated`, this packet as it will be, come out as zero, which is written as
// 0xffff (RFC 768).
std::string payload_with_sum_zero(Random& random, const Packet& translated, std::size_t transport_offset) {
    std::string payload = random_bytes(random, 2 + 2 * random.below(30));
    payload[0] = payload[1] = '\0';
    const Bytes frame = Packet(translated).payload(payload).bytes();
    payload[0] = static_cast<char>(frame.at(transport_offset + 6));
    payload[1] = static_cast<char>(frame.at(transport_offset + 7));
    return payload;
}

void add_udp(Random& random, Sent& sent, std::uint16_t source, std::uint16_t destination, const Translate& translate) {
    sent.packet.udp(source, destination).payload(random_bytes(random, random_size(random)));
    if (random.percent(10)) {
        sent.packet.without_udp_checksum();
    } else if (random.percent(10)) {
        sent.packet.payload(payload_with_sum_zero(random, translate(sent.packet), sent.transport_offset));
    }
}

// How much of it the checksum covers: at least the header, and never more than there is (RFC 3828).
void add_udplite(Random& random, Sent& sent, std::uint16_t source, std::uint16_t destination) {
    constexpr std::size_t kHeader = 8;
    const std::size_t size = random_size(random);
    const std::size_t coverage = random.percent(40) ? 0 : kHeader + random.below(size + 1);
    sent.packet.udplite(source, destination, static_cast<std::uint16_t>(coverage)).payload(random_bytes(random, size));
}

// RFC 9260, 3.3: the chunks that begin and end an association are to a flow what these flags of TCP are.
void add_sctp(Random& random, Sent& sent, std::uint16_t source, std::uint16_t destination) {
    constexpr std::uint8_t kData = 0;
    constexpr std::uint8_t kInit = 1;
    constexpr std::uint8_t kInitAck = 2;
    constexpr std::uint8_t kAbort = 6;
    constexpr std::uint8_t kShutdown = 7;  // asks the other end to shut down as well: the end is yet to come
    constexpr std::uint8_t kShutdownComplete = 14;
    const std::uint8_t chunk = random.percent(70)
                                   ? kData
                                   : random.of(std::array<std::uint8_t, 7>{kInit, kInit, kInit, kInitAck, kAbort,
                                                                           kShutdown, kShutdownComplete});
    sent.syn = chunk == kInit || chunk == kInitAck;
    sent.ack = chunk == kInitAck;
    sent.rst = chunk == kAbort || chunk == kShutdownComplete;
    sent.packet.sctp(source, destination, chunk).payload(random_bytes(random, random_size(random)));
}

// Zero is written for none.
bool has_optional_sum(std::uint8_t protocol) {
    return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE;
}

}  // namespace

void add_network_layer(Random& random, Sent& sent, bool ipv6) {
    sent.ttl = random.percent(3) ? 1 : random.percent(10) ? 2 : static_cast<std::uint8_t>(random.below(254) + 2);
    sent.packet.ttl(sent.ttl);
    sent.transport_offset = ETH_HLEN + (ipv6 ? 40 : 20);
    if (!ipv6) {
        if (random.percent(20)) {
            sent.packet.tos(static_cast<std::uint8_t>(random.below(256)));
        }
        if (random.percent(50)) {
            sent.packet.dont_fragment();
        }
        if (random.percent(10)) {
            const std::size_t size = 4 * (random.below(10) + 1);
            sent.packet.ip_options(Bytes(size, 1));  // no operation
            sent.transport_offset += size;
        }
        return;
    }
    const std::size_t extensions = random.percent(10) ? random.below(kMostExtensions) + 1 : 0;
    for (std::size_t i = 0; i < extensions; i++) {
        const std::size_t size = 8 * (random.below(8) + 1);
        sent.packet.extension(random.of(std::array<std::uint8_t, 3>{IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS}),
                              size);
        sent.extensions.push_back(size);
        sent.transport_offset += size;
    }
    if (sent.transport_offset > kReach) {
        sent.untranslatable = "protocol";
    }
}

void add_damage(Random& random, Sent& sent) {
    if (sent.protocol == IPPROTO_SCTP) {
        return;  // its checksum is never right here, and nothing changes it
    }
    const Bytes frame = sent.frame();
    const std::size_t offset = sent.transport_offset + 6;
    const bool no_sum = has_optional_sum(sent.protocol) && frame.at(offset) == 0 && frame.at(offset + 1) == 0;
    if (no_sum || !random.percent(3)) {
        return;
    }
    sent.damage = static_cast<std::uint16_t>(random.below(0xfffe) + 1);
    const Bytes damaged = sent.frame();
    if (has_optional_sum(sent.protocol) && damaged.at(offset) == 0 && damaged.at(offset + 1) == 0) {
        sent.damage = 0;  // that would mean: no checksum
    }
}

Sent packet_out(Random& random, const Conversation& c, const Translate& translate) {
    Sent sent{.packet = Packet().ip(c.container, c.remote), .protocol = c.protocol};
    add_network_layer(random, sent, c.is_ipv6());
    if (c.protocol == IPPROTO_TCP) {
        add_tcp(random, sent, c.port, c.remote_port);
    } else if (c.protocol == IPPROTO_UDP) {
        add_udp(random, sent, c.port, c.remote_port, translate);
    } else if (c.protocol == IPPROTO_UDPLITE) {
        add_udplite(random, sent, c.port, c.remote_port);
    } else if (c.protocol == IPPROTO_SCTP) {
        add_sctp(random, sent, c.port, c.remote_port);
    } else {
        const bool reply = random.percent(3);
        sent.packet.payload(random_bytes(random, random_size(random)));
        reply ? sent.packet.echo_reply(c.port) : sent.packet.echo_request(c.port);
        sent.untranslatable = reply && sent.untranslatable.empty() ? "no-flow" : sent.untranslatable;
    }
    add_damage(random, sent);
    return sent;
}

Sent packet_in(Random& random, const Conversation& c, std::uint16_t port) {
    const Net& net = c.is_ipv6() ? ipv6() : ipv4();
    Sent sent{.packet = Packet().eth(kUplinkMac, kRouterMac).ip(c.remote, net.node), .protocol = c.protocol};
    add_network_layer(random, sent, c.is_ipv6());
    if (c.protocol == IPPROTO_TCP) {
        add_tcp(random, sent, c.remote_port, port);
    } else if (c.protocol == IPPROTO_UDP) {
        add_udp(random, sent, c.remote_port, port,
                [&](const Packet& packet) { return Packet(packet).to(c.container, c.port); });
    } else if (c.protocol == IPPROTO_UDPLITE) {
        add_udplite(random, sent, c.remote_port, port);
    } else if (c.protocol == IPPROTO_SCTP) {
        add_sctp(random, sent, c.remote_port, port);
    } else {
        const bool request = random.percent(3);
        sent.packet.payload(random_bytes(random, random_size(random)));
        request ? sent.packet.echo_request(port) : sent.packet.echo_reply(port);
        sent.untranslatable = request && sent.untranslatable.empty() ? "asks the host" : sent.untranslatable;
    }
    add_damage(random, sent);
    return sent;
}

}  // namespace netkitd::test
