#include "harness/packet.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/in.h>

#include <algorithm>
#include <stdexcept>

#include "base/format.h"

namespace netkitd::test {
namespace {

constexpr std::uint8_t kFin = 1 << 0;  // RFC 9293, 3.1
constexpr std::uint8_t kSyn = 1 << 1;
constexpr std::uint8_t kRst = 1 << 2;
constexpr std::uint8_t kAck = 1 << 4;
constexpr std::uint16_t kDontFragment = 0x4000;  // RFC 791, 3.1
constexpr std::uint16_t kMoreFragments = 0x2000;
constexpr std::uint8_t kEchoReply = 0;  // RFC 792
constexpr std::uint8_t kEchoRequest = 8;
constexpr std::uint8_t kEchoRequest6 = 128;  // RFC 4443
constexpr std::uint8_t kEchoReply6 = 129;

void put16(Bytes& bytes, std::uint16_t value) {
    bytes.push_back(static_cast<std::uint8_t>(value >> 8));
    bytes.push_back(static_cast<std::uint8_t>(value & 0xff));
}

void put32(Bytes& bytes, std::uint32_t value) {
    put16(bytes, static_cast<std::uint16_t>(value >> 16));
    put16(bytes, static_cast<std::uint16_t>(value & 0xffff));
}

void put16_at(Bytes& bytes, std::size_t offset, std::uint16_t value) {
    bytes.at(offset) = static_cast<std::uint8_t>(value >> 8);
    bytes.at(offset + 1) = static_cast<std::uint8_t>(value & 0xff);
}

void append(Bytes& bytes, std::span<const std::uint8_t> more) {
    bytes.insert(bytes.end(), more.begin(), more.end());
}

Bytes parse_address(std::string_view text) {
    const int family = text.contains(':') ? AF_INET6 : AF_INET;
    Bytes address(family == AF_INET6 ? 16 : 4);
    if (inet_pton(family, std::string(text).c_str(), address.data()) != 1) {
        throw std::invalid_argument("not an address: " + std::string(text));
    }
    return address;
}

// RFC 826, for Ethernet and IPv4.
Bytes arp_packet(std::uint16_t operation, const Mac& sender_mac, std::string_view sender, const Mac& target_mac,
                 std::string_view target) {
    Bytes bytes;
    put16(bytes, 1);
    put16(bytes, ETH_P_IP);
    bytes.insert(bytes.end(), {6, 4});
    put16(bytes, operation);
    append(bytes, sender_mac);
    append(bytes, parse_address(sender));
    append(bytes, target_mac);
    append(bytes, parse_address(target));
    return bytes;
}

std::uint32_t sum16(std::span<const std::uint8_t> bytes) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); i++) {
        sum += i % 2 == 0 ? static_cast<std::uint32_t>(bytes[i]) << 8 : bytes[i];
    }
    return sum;
}

}  // namespace

std::uint16_t internet_checksum(std::span<const std::uint8_t> first, std::span<const std::uint8_t> second) {
    std::uint32_t sum = sum16(first) + sum16(second);
    while (sum > 0xffff) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<std::uint16_t>(~sum);
}

Bytes pseudo_header(std::span<const std::uint8_t> addresses, std::uint8_t protocol, std::size_t length) {
    Bytes bytes(addresses.begin(), addresses.end());
    put16(bytes, protocol);
    put16(bytes, static_cast<std::uint16_t>(length));
    return bytes;
}

Packet& Packet::eth(const Mac& destination, const Mac& source) {
    destination_mac_ = destination;
    source_mac_ = source;
    return *this;
}

Packet& Packet::ether_type(std::uint16_t type) {
    ether_type_ = type;
    return *this;
}

Packet& Packet::vlan(std::uint16_t id) {
    vlan_ = id;
    return *this;
}

Packet& Packet::arp(Bytes bytes) {
    network_ = Network::arp;
    arp_ = std::move(bytes);
    return *this;
}

Packet& Packet::arp_request(const Mac& asker, std::string_view source, std::string_view asked) {
    constexpr std::uint16_t kRequest = 1;
    return arp(arp_packet(kRequest, asker, source, {}, asked));
}

Packet& Packet::arp_reply(const Mac& answer, std::string_view asked, const Mac& asker, std::string_view source) {
    constexpr std::uint16_t kReply = 2;
    return arp(arp_packet(kReply, answer, asked, asker, source));
}

Packet& Packet::neighbour_message(std::uint8_t type, std::uint8_t flags, std::string_view target, std::uint8_t option,
                                  const Mac& mac) {
    constexpr std::uint8_t kHopLimit = 255;
    icmp_rest_ = std::uint32_t{flags} << 24;
    payload_ = parse_address(target);
    payload_.insert(payload_.end(), {option, 1});
    append(payload_, mac);
    return ttl(kHopLimit).icmp(type, 0);
}

Packet& Packet::neighbour_solicitation(const Mac& asker, std::string_view source, std::string_view asked) {
    // RFC 4291, 2.7.1: to the solicited-node group of the last three bytes.
    const Bytes target = parse_address(asked);
    return ip(source, formatted("ff02::1:ff{:02x}:{:02x}{:02x}", target[13], target[14], target[15]))
        .neighbour_message(135, 0, asked, 1, asker);
}

Packet& Packet::neighbour_option(std::uint8_t type, std::uint8_t length) {
    payload_.at(16) = type;
    payload_.at(17) = length;
    return *this;
}

Packet& Packet::neighbour_advertisement(const Mac& answer, std::string_view asked, std::string_view asker) {
    constexpr std::uint8_t kSolicitedAndOverride = 0x60;
    return ip(asked, asker).neighbour_message(136, kSolicitedAndOverride, asked, 2, answer);
}

Packet& Packet::ip(std::string_view source, std::string_view destination) {
    source_ = parse_address(source);
    destination_ = parse_address(destination);
    network_ = source_.size() == 4 ? Network::ipv4 : Network::ipv6;
    return *this;
}

Packet& Packet::tos(std::uint8_t value) {
    tos_ = value;
    return *this;
}

Packet& Packet::ttl(std::uint8_t value) {
    ttl_ = value;
    return *this;
}

Packet& Packet::dont_fragment() {
    fragment_ |= kDontFragment;
    return *this;
}

Packet& Packet::fragment(std::uint16_t offset, bool more) {
    if (network_ == Network::ipv6) {
        Bytes header(2);
        put16(header, static_cast<std::uint16_t>(offset << 3 | (more ? 1 : 0)));  // RFC 8200, 4.5
        put32(header, identification_.value_or(0x12345678));
        extensions_.emplace_back(IPPROTO_FRAGMENT, header);
    }
    fragment_ = static_cast<std::uint16_t>(offset | (more ? kMoreFragments : 0));
    return *this;
}

Packet& Packet::identification(std::uint32_t value) {
    identification_ = value;
    return *this;
}

Packet& Packet::extension(std::uint8_t number, std::size_t size) {
    Bytes header(size);
    header.at(1) = static_cast<std::uint8_t>(size / 8 - 1);
    header.at(2) = 1;  // PadN, RFC 8200, 4.2
    header.at(3) = static_cast<std::uint8_t>(size - 4);
    extensions_.emplace_back(number, header);
    return *this;
}

Packet& Packet::ip_options(Bytes options) {
    options_ = std::move(options);
    options_.resize((options_.size() + 3) / 4 * 4);
    return *this;
}

Packet& Packet::ip_version(std::uint8_t version) {
    ip_version_ = version;
    return *this;
}

Packet& Packet::ip_header_words(std::uint8_t words) {
    ip_header_words_ = words;
    return *this;
}

Packet& Packet::ip_total_length(std::uint16_t length) {
    ip_total_length_ = length;
    return *this;
}

Packet& Packet::protocol(std::uint8_t number) {
    protocol_ = number;
    return *this;
}

Packet& Packet::tcp(std::uint16_t source_port, std::uint16_t destination_port) {
    transport_ = Transport::tcp;
    protocol_ = IPPROTO_TCP;
    source_port_ = source_port;
    destination_port_ = destination_port;
    return *this;
}

Packet& Packet::tcp_sequence(std::uint32_t number) {
    tcp_sequence_ = number;
    return *this;
}

Packet& Packet::syn() {
    tcp_flags_ |= kSyn;
    return *this;
}

Packet& Packet::ack() {
    tcp_flags_ |= kAck;
    return *this;
}

Packet& Packet::fin() {
    tcp_flags_ |= kFin;
    return *this;
}

Packet& Packet::rst() {
    tcp_flags_ |= kRst;
    return *this;
}

Packet& Packet::tcp_header_words(std::uint8_t words) {
    tcp_header_words_ = words;
    return *this;
}

Packet& Packet::udp(std::uint16_t source_port, std::uint16_t destination_port) {
    transport_ = Transport::udp;
    protocol_ = IPPROTO_UDP;
    source_port_ = source_port;
    destination_port_ = destination_port;
    return *this;
}

Packet& Packet::without_udp_checksum() {
    udp_checksum_ = false;
    return *this;
}

Packet& Packet::udplite(std::uint16_t source_port, std::uint16_t destination_port, std::uint16_t coverage) {
    udp(source_port, destination_port);
    transport_ = Transport::udplite;
    protocol_ = IPPROTO_UDPLITE;
    udplite_coverage_ = coverage;
    return *this;
}

Packet& Packet::sctp(std::uint16_t source_port, std::uint16_t destination_port, std::uint8_t chunk_type) {
    transport_ = Transport::sctp;
    protocol_ = IPPROTO_SCTP;
    source_port_ = source_port;
    destination_port_ = destination_port;
    sctp_chunk_ = chunk_type;
    return *this;
}

Packet& Packet::echo_request(std::uint16_t id) {
    source_port_ = id;
    return icmp(network_ == Network::ipv6 ? kEchoRequest6 : kEchoRequest, 0);
}

Packet& Packet::echo_reply(std::uint16_t id) {
    source_port_ = id;
    return icmp(network_ == Network::ipv6 ? kEchoReply6 : kEchoReply, 0);
}

Packet& Packet::icmp(std::uint8_t type, std::uint8_t code) {
    transport_ = Transport::icmp;
    protocol_ = static_cast<std::uint8_t>(network_ == Network::ipv6 ? int{IPPROTO_ICMPV6} : int{IPPROTO_ICMP});
    icmp_type_ = type;
    icmp_code_ = code;
    return *this;
}

Packet& Packet::icmp_rest(std::uint32_t value) {
    icmp_rest_ = value;
    return *this;
}

Packet& Packet::quoting(const Packet& packet, std::size_t size) {
    payload_ = packet.network_packet();
    payload_.resize(std::min(payload_.size(), size));
    return *this;
}

Packet& Packet::payload(std::string_view text) {
    payload_.assign(text.begin(), text.end());
    return *this;
}

Packet& Packet::payload(std::size_t size) {
    payload_.resize(size);
    for (std::size_t i = 0; i < size; i++) {
        payload_[i] = static_cast<std::uint8_t>(i & 0xff);
    }
    return *this;
}

Packet& Packet::cut_to(std::size_t size) {
    cut_ = size;
    return *this;
}

Packet& Packet::from(std::string_view address, std::uint16_t port) {
    source_ = parse_address(address);
    source_port_ = port;
    return *this;
}

Packet& Packet::to(std::string_view address, std::uint16_t port) {
    destination_ = parse_address(address);
    (transport_ == Transport::icmp ? source_port_ : destination_port_) = port;
    return *this;
}

Bytes Packet::ethernet_header() const {
    Bytes bytes;
    append(bytes, destination_mac_);
    append(bytes, source_mac_);
    if (vlan_) {
        put16(bytes, ETH_P_8021Q);
        put16(bytes, *vlan_);
    }
    switch (network_) {
        case Network::arp:
            put16(bytes, ether_type_.value_or(ETH_P_ARP));
            break;
        case Network::ipv6:
            put16(bytes, ether_type_.value_or(ETH_P_IPV6));
            break;
        default:
            put16(bytes, ether_type_.value_or(ETH_P_IP));
    }
    return bytes;
}

Bytes Packet::transport_packet() const {
    Bytes bytes;
    std::size_t checksum_offset = 0;
    if (transport_ != Transport::none && transport_ != Transport::icmp) {
        put16(bytes, source_port_);
        put16(bytes, destination_port_);
    }
    if (transport_ == Transport::tcp) {
        put32(bytes, tcp_sequence_);
        put32(bytes, 2);  // acknowledgement
        bytes.push_back(static_cast<std::uint8_t>(tcp_header_words_ << 4));
        bytes.push_back(tcp_flags_);
        put16(bytes, 0xfaf0);  // window
        checksum_offset = bytes.size();
        put32(bytes, 0);
    } else if (transport_ == Transport::udp || transport_ == Transport::udplite) {
        put16(bytes,
              transport_ == Transport::udp ? static_cast<std::uint16_t>(8 + payload_.size()) : udplite_coverage_);
        checksum_offset = bytes.size();
        put16(bytes, 0);
    } else if (transport_ == Transport::sctp) {
        put32(bytes, 3);           // verification tag
        put32(bytes, 0xdeadbeef);  // checksum
        bytes.push_back(sctp_chunk_);
        bytes.push_back(0);
        put16(bytes, 4);  // length
    } else if (transport_ == Transport::icmp) {
        bytes = {icmp_type_, icmp_code_};
        checksum_offset = bytes.size();
        put16(bytes, 0);
        put32(bytes, icmp_rest_.value_or(std::uint32_t{source_port_} << 16 | 1));  // id, and the sequence number
    }
    append(bytes, payload_);
    const bool has_checksum = transport_ != Transport::none && transport_ != Transport::sctp;
    if (has_checksum && udp_checksum_) {
        put16_at(bytes, checksum_offset, transport_checksum(bytes));
    }
    return bytes;
}

std::uint16_t Packet::transport_checksum(const Bytes& bytes) const {
    Bytes addresses = source_;
    append(addresses, destination_);
    const Bytes pseudo = pseudo_header(addresses, protocol_, bytes.size());
    std::span<const std::uint8_t> covered = bytes;
    if (transport_ == Transport::udplite && udplite_coverage_ != 0) {
        covered = covered.first(udplite_coverage_);
    }
    const std::uint16_t checksum = internet_checksum(protocol_ == IPPROTO_ICMP ? Bytes{} : pseudo, covered);
    const bool zero_is_none = transport_ == Transport::udp || transport_ == Transport::udplite;
    return checksum == 0 && zero_is_none ? 0xffff : checksum;  // RFC 768
}

Bytes Packet::ipv4_header(std::size_t payload_size) const {
    Bytes bytes;
    const std::size_t size = 20 + options_.size();
    const std::size_t words = ip_header_words_.value_or(static_cast<std::uint8_t>(size / 4));
    bytes.push_back(static_cast<std::uint8_t>(ip_version_.value_or(4) << 4 | words));
    bytes.push_back(tos_);
    put16(bytes, ip_total_length_.value_or(static_cast<std::uint16_t>(size + payload_size)));
    put16(bytes, static_cast<std::uint16_t>(identification_.value_or(0x1234)));
    put16(bytes, fragment_);
    bytes.push_back(ttl_);
    bytes.push_back(protocol_);
    put16(bytes, 0);
    append(bytes, source_);
    append(bytes, destination_);
    append(bytes, options_);
    put16_at(bytes, 10, internet_checksum(bytes));
    return bytes;
}

// RFC 8200, 3 and 4.
Bytes Packet::ipv6_headers(std::size_t payload_size) const {
    for (const auto& [number, header] : extensions_) {
        payload_size += header.size();
    }
    Bytes bytes{static_cast<std::uint8_t>(ip_version_.value_or(6) << 4), 0, 0, 0};
    put16(bytes, ip_total_length_.value_or(static_cast<std::uint16_t>(payload_size)));
    std::size_t next_header = bytes.size();
    bytes.push_back(protocol_);
    bytes.push_back(ttl_);
    append(bytes, source_);
    append(bytes, destination_);
    for (const auto& [number, header] : extensions_) {
        bytes.at(next_header) = number;
        next_header = bytes.size();
        append(bytes, header);
        bytes.at(next_header) = protocol_;
    }
    return bytes;
}

Bytes Packet::network_packet() const {
    if (network_ == Network::arp) {
        return arp_;
    }
    const Bytes transport = transport_packet();
    Bytes bytes;
    if (network_ == Network::ipv4) {
        bytes = ipv4_header(transport.size());
    } else if (network_ == Network::ipv6) {
        bytes = ipv6_headers(transport.size());
    }
    append(bytes, transport);
    return bytes;
}

Bytes Packet::bytes() const {
    Bytes frame = ethernet_header();
    append(frame, network_packet());
    if (cut_) {
        frame.resize(*cut_);
    }
    return frame;
}

}  // namespace netkitd::test
