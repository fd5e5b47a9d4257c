// Packets for tests, written the way one reads them:
//
//   Packet().ip("10.77.0.2", "198.51.100.1").ttl(64).tcp(50000, 443).syn().payload("GET /")
//
// The addresses say whether it is IPv4 or IPv6; give them first, what follows may depend on it.
//
// Lengths and checksums are computed; what a test wants wrong it sets wrong by name. Every packet has an Ethernet
// header. A Packet is a value: a variant of one is a copy with something changed.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace netkitd::test {

using Bytes = std::vector<std::uint8_t>;
using Mac = std::array<std::uint8_t, 6>;

class Packet {
public:
    Packet& eth(const Mac& destination, const Mac& source);
    // The type field, where it should not follow from what comes next.
    Packet& ether_type(std::uint16_t type);
    Packet& vlan(std::uint16_t id);

    // Who asks, by which address, for which one; RFC 826 and, for IPv6, RFC 4861 with the option that names the
    // asker's.
    Packet& arp_request(const Mac& asker, std::string_view source, std::string_view asked);
    Packet& neighbour_solicitation(const Mac& asker, std::string_view source, std::string_view asked);
    // Another type or length of its option.
    Packet& neighbour_option(std::uint8_t type, std::uint8_t length);
    // The answers to both.
    Packet& arp_reply(const Mac& answer, std::string_view asked, const Mac& asker, std::string_view source);
    Packet& neighbour_advertisement(const Mac& answer, std::string_view asked, std::string_view asker);
    // What follows the Ethernet header, where a test wants it otherwise.
    Packet& arp(Bytes bytes = Bytes(28));
    Packet& ip(std::string_view source, std::string_view destination);
    // Or the hop limit.
    Packet& ttl(std::uint8_t value);
    Packet& tos(std::uint8_t value);  // IPv4
    // IPv4; all of IPv6 is so.
    Packet& dont_fragment();
    // `offset` in units of 8 bytes.
    Packet& fragment(std::uint16_t offset, bool more);
    // IPv4's; IPv6 has one in the fragment header: give it first.
    Packet& identification(std::uint32_t value);
    // IPv6: one more extension header, padded, `size` bytes long (a multiple of 8).
    Packet& extension(std::uint8_t number, std::size_t size);
    // IPv4. Padded with zeros (end of options) to a multiple of 4.
    Packet& ip_options(Bytes options);
    Packet& ip_version(std::uint8_t version);
    // In 32-bit words.
    Packet& ip_header_words(std::uint8_t words);
    // IPv6: the payload's.
    Packet& ip_total_length(std::uint16_t length);

    Packet& protocol(std::uint8_t number);
    Packet& tcp(std::uint16_t source_port, std::uint16_t destination_port);
    Packet& syn();
    Packet& ack();
    Packet& fin();
    Packet& rst();
    Packet& tcp_sequence(std::uint32_t number);
    // In 32-bit words.
    Packet& tcp_header_words(std::uint8_t words);
    Packet& udp(std::uint16_t source_port, std::uint16_t destination_port);
    Packet& without_udp_checksum();  // or UDP-Lite's
    // RFC 3828. `coverage`: how many bytes the checksum covers; 0 is all.
    Packet& udplite(std::uint16_t source_port, std::uint16_t destination_port, std::uint16_t coverage = 0);
    // RFC 9260: the common header and an empty chunk. Its checksum is a constant: no translation may change it.
    Packet& sctp(std::uint16_t source_port, std::uint16_t destination_port, std::uint8_t chunk_type);
    Packet& echo_request(std::uint16_t id);
    Packet& echo_reply(std::uint16_t id);
    Packet& icmp(std::uint8_t type, std::uint8_t code);
    // Of an ICMP error: an MTU, or a pointer, in the place of an echo's id and sequence number.
    Packet& icmp_rest(std::uint32_t value);
    // Of an ICMP error: the beginning of the packet that it is about, from its IP header on; at most `size` bytes.
    Packet& quoting(const Packet& packet, std::size_t size = 1200);

    Packet& payload(std::string_view text);
    Packet& payload(std::size_t size);
    // Cuts the finished frame; lengths and checksums inside stay as they were.
    Packet& cut_to(std::size_t size);

    // What a translation changes, for the packet that a test expects.
    Packet& from(std::string_view address, std::uint16_t port);
    Packet& to(std::string_view address, std::uint16_t port);

    [[nodiscard]] Bytes bytes() const;

private:
    enum class Network { none, arp, ipv4, ipv6 };
    Packet& neighbour_message(std::uint8_t type, std::uint8_t flags, std::string_view target, std::uint8_t option,
                              const Mac& mac);
    enum class Transport { none, tcp, udp, udplite, sctp, icmp };

    [[nodiscard]] Bytes ethernet_header() const;
    [[nodiscard]] Bytes network_packet() const;
    [[nodiscard]] Bytes ipv4_header(std::size_t payload_size) const;
    [[nodiscard]] Bytes ipv6_headers(std::size_t payload_size) const;
    [[nodiscard]] Bytes transport_packet() const;
    [[nodiscard]] std::uint16_t transport_checksum(const Bytes& bytes) const;

    Mac destination_mac_{};
    Mac source_mac_{};
    std::optional<std::uint16_t> ether_type_;
    std::optional<std::uint16_t> vlan_;
    Network network_ = Network::none;
    Bytes arp_;
    Bytes source_;  // as in the header
    Bytes destination_;
    std::vector<std::pair<std::uint8_t, Bytes>> extensions_;
    std::uint8_t ttl_ = 64;
    std::uint8_t tos_ = 0;
    std::uint16_t fragment_ = 0;
    std::optional<std::uint32_t> identification_;
    Bytes options_;
    std::optional<std::uint8_t> ip_version_;
    std::optional<std::uint8_t> ip_header_words_;
    std::optional<std::uint16_t> ip_total_length_;
    std::uint8_t protocol_ = 0;
    Transport transport_ = Transport::none;
    std::uint16_t source_port_ = 0;  // ICMP echo: the id
    std::uint16_t destination_port_ = 0;
    std::uint8_t tcp_flags_ = 0;
    std::uint32_t tcp_sequence_ = 1;
    std::uint8_t tcp_header_words_ = 5;
    bool udp_checksum_ = true;
    std::uint16_t udplite_coverage_ = 0;
    std::uint8_t sctp_chunk_ = 0;
    std::uint8_t icmp_type_ = 0;
    std::uint8_t icmp_code_ = 0;
    std::optional<std::uint32_t> icmp_rest_;  // in the place of id and sequence
    Bytes payload_;
    std::optional<std::size_t> cut_;
};

// RFC 1071, over the concatenation of both parts; the first must be of even length.
[[nodiscard]] std::uint16_t internet_checksum(std::span<const std::uint8_t> first,
                                              std::span<const std::uint8_t> second = {});
// RFC 9293, 3.1; `addresses` are source and destination as in the header. (That of IPv6, RFC 8200, 8.1, has wider
// fields and the same sum.)
[[nodiscard]] Bytes pseudo_header(std::span<const std::uint8_t> addresses, std::uint8_t protocol, std::size_t length);

// One line a header, checksums verified, the payload in hex: EXPECT_EQ on two of these prints a diff of the packets.
[[nodiscard]] std::string describe(std::span<const std::uint8_t> frame);

}  // namespace netkitd::test
