// Reading headers. Nothing in a packet is believed before it was compared with what is really there.
#pragma once

#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "lib/addr.h"
#include "lib/base.h"

// RFC 791, 3.1: flags and fragment offset.
#define NK_IP_DF 0x4000
#define NK_IP_MF 0x2000
#define NK_IP_OFFSET 0x1fff

// RFC 8200, 4.5: the same in IPv6's fragment header.
#define NK_IP6_MF 0x0001
#define NK_IP6_OFFSET 0xfff8

// As bpf_fib_lookup() wants it (include/net/ipv6.h: IPV6_TCLASS_MASK).
#define NK_IP6_TRAFFIC_CLASS 0x0ff00000

// The bound of a transport offset, for the verifier. Ethernet and the longest IPv4 header are 74; an IPv6 packet whose
// extension headers go beyond is one of a protocol that is not known.
#define NK_L4_OFFSET_MASK 0xff
#define NK_MAX_EXTENSIONS 4

// RFC 2675, 2: a hop-by-hop header with nothing but the jumbo payload option.
#define NK_JUMBO_HEADER_LEN 8

// RFC 792 and RFC 4443, echo and echo reply. (linux/icmp.h draws in libc.)
struct nk_icmp_echo {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 id;
	__be16 sequence;
};

// Code of NK_ICMP_UNREACHABLE: fragmentation needed and DF set.
#define NK_ICMP_CODE_TOO_BIG 4

enum nk_icmp_type {
	NK_ICMP_ECHOREPLY = 0,
	NK_ICMP_UNREACHABLE = 3,
	NK_ICMP_ECHO = 8,
	NK_ICMP_TIME_EXCEEDED = 11,
	NK_ICMP_PARAMETER_PROBLEM = 12,
	NK_ICMP6_UNREACHABLE = 1,
	NK_ICMP6_TOO_BIG = 2,
	NK_ICMP6_PARAMETER_PROBLEM = 4, // between them: time exceeded
	NK_ICMP6_ECHO = 128,
	NK_ICMP6_ECHOREPLY = 129,
};

// RFC 9260, 3.1 and 3.2: the common header, and the beginning of the first chunk.
struct nk_sctp {
	__be16 source;
	__be16 dest;
	__be32 tag;
	__le32 checksum; // CRC32c over the header and all chunks
	__u8 chunk_type;
	__u8 chunk_flags;
	__be16 chunk_len;
};

enum nk_sctp_chunk {
	NK_SCTP_INIT = 1,
	NK_SCTP_INIT_ACK = 2,
	NK_SCTP_ABORT = 6,
	NK_SCTP_SHUTDOWN_COMPLETE = 14,
};

enum nk_fragment {
	NK_FRAGMENT = 1 << 0,	    // a part of a packet
	NK_FRAGMENT_LATER = 1 << 1, // not its first part: there is no transport header
};

// Addresses, protocol and ports are in the flow's key, in one place: the stack is scarce.
struct nk_ip {
	__u32 header_len;     // up to the transport header
	__u32 len;	      // headers and payload, as the header says (BIG TCP: as the buffer says)
	__be32 traffic_class; // IPv6
	__u32 id;	      // what the fragments of one packet have in common beside the addresses
	__u8 tos;	      // IPv4
	__u8 ttl;	      // or hop limit
	__u8 fragment;	      // enum nk_fragment
	bool whole;	      // must not be fragmented on its way: DF, and all of IPv6
	bool jumbo;	      // BIG TCP with the extension header that says how long it is
	__u8 family;	      // enum nk_family; a byte, as the stack is scarce
};

struct nk_l4 {
	__u32 header_len;
	__u8 tcp_flags; // enum nk_tcp_flag; SCTP: what is like it
	bool echo_reply;
};

// IEEE 802.1Q, 9.6: the identifier, of 12 bits, in a VLAN tag. A tag with none (0) is about priority only: for the
// stack the packet is an untagged one (vlan_do_receive() and what follows in net/core/dev.c).
#define NK_VLAN_ID 0x0fff

static __always_inline bool nk_has_vlan(const struct __sk_buff *skb)
{
	return skb->vlan_present && (skb->vlan_tci & NK_VLAN_ID);
}

// The bits of TCP's flag byte (RFC 9293, 3.1) that mean something to a flow.
enum nk_tcp_flag {
	NK_TCP_FIN = 1 << 0,
	NK_TCP_SYN = 1 << 1,
	NK_TCP_RST = 1 << 2,
	NK_TCP_ACK = 1 << 4,
	NK_TCP_STATE = NK_TCP_FIN | NK_TCP_SYN | NK_TCP_RST, // of which the connection's state follows
};

// Where they are in the header (RFC 9293, 3.1).
#define NK_TCP_FLAGS 13

// The first packet of a connection (SCTP: of an association).
static __always_inline bool nk_is_beginning(__u8 tcp_flags)
{
	return (tcp_flags & (NK_TCP_SYN | NK_TCP_ACK)) == NK_TCP_SYN;
}

// The second: an answer to whoever asks.
static __always_inline bool nk_is_second_step(__u8 tcp_flags)
{
	const __u8 answer = NK_TCP_SYN | NK_TCP_ACK;

	return (tcp_flags & answer) == answer;
}

enum nk_l4_result {
	NK_L4_OK,
	NK_L4_MALFORMED,
	NK_L4_ICMP_ERROR,  // no ports: the packet that it is about has them (icmp_error.h)
	NK_L4_UNSUPPORTED, // no ports: a protocol, or an ICMP message, that cannot be masqueraded
};

// `size` bytes (a constant) at `offset`, or NULL if the linear part is shorter.
static __always_inline void *nk_linear(const struct __sk_buff *skb, __u32 offset, __u32 size)
{
	void *header = (void *)(long)skb->data + offset;

	// The verifier knows the bounds of the very register that was compared: keep the compiler from computing it
	// twice.
	asm volatile("" : "+r"(header));
	return header + size <= (void *)(long)skb->data_end ? header : NULL;
}

// The same, pulled into the linear part if it is not there; NULL if the packet is shorter.
static __always_inline void *nk_header(struct __sk_buff *skb, __u32 offset, __u32 size)
{
	void *header = nk_linear(skb, offset, size);

	if (header)
		return header;
	if (offset + size > skb->len || bpf_skb_pull_data(skb, offset + size))
		return NULL;
	return nk_linear(skb, offset, size);
}

// Of headers that say how long the packet is: whether it is as long, and they are not longer than that.
static __always_inline bool nk_lengths_agree(const struct __sk_buff *skb, const struct nk_ip *ip)
{
	return ip->len >= ip->header_len && ip->len <= skb->len - ETH_HLEN;
}

// RFC 791, 3.2: fragments of one packet have one identification and one protocol. (Of IPv6, RFC 8200, 4.5, it is 32
// bits of identification alone: what follows the fragment header may be another extension.)
static __always_inline __u32 nk_fragment_id4(__be16 id, __u8 proto)
{
	return id | (__u32)proto << 16;
}

static __always_inline bool nk_parse_ipv4(struct __sk_buff *skb, struct nk_ip *ip, struct nk_flow6_key *key)
{
	struct iphdr *header = nk_header(skb, ETH_HLEN, sizeof(*header));
	__u16 fragment;

	if (!header)
		return false;
	fragment = bpf_ntohs(header->frag_off);
	*key = (struct nk_flow6_key){
	    .saddr = nk_addr4(header->saddr),
	    .daddr = nk_addr4(header->daddr),
	    .proto = header->protocol,
	};
	*ip = (struct nk_ip){
	    .header_len = header->ihl * 4,
	    .len = bpf_ntohs(header->tot_len),
	    .id = nk_fragment_id4(header->id, header->protocol),
	    .tos = header->tos,
	    .ttl = header->ttl,
	    .fragment = (fragment & (NK_IP_MF | NK_IP_OFFSET) ? NK_FRAGMENT : 0) |
			(fragment & NK_IP_OFFSET ? NK_FRAGMENT_LATER : 0),
	    .whole = fragment & NK_IP_DF,
	    .family = NK_IPV4,
	};
	// BIG TCP: more than the field can say is written as 0 (include/linux/ip.h, iph_totlen).
	if (!ip->len && skb->gso_size)
		ip->len = skb->len - ETH_HLEN;
	return header->version == 4 && ip->header_len >= sizeof(*header) && nk_lengths_agree(skb, ip);
}

// RFC 8200, 4.1, but for those that nothing can be read behind (ESP) or that forbid a change (AH).
static __always_inline bool nk_is_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_FRAGMENT ||
	       next == IPPROTO_DSTOPTS;
}

struct nk_transport {
	__u32 id;	  // of a fragment
	__u16 header_len; // of all the headers before it
	__u8 proto;
	__u8 fragment; // enum nk_fragment
};

// Moves `found` on, behind the extension headers. If there are too many, or they are cut, the protocol is the next
// one's number: none that anything is done with.
static __noinline void nk_skip_extensions(struct __sk_buff *skb, struct nk_transport *found)
{
	for (int i = 0; i < NK_MAX_EXTENSIONS && nk_is_extension(found->proto); i++) {
		__u32 offset = ETH_HLEN + found->header_len;
		__u8 *header = offset < NK_L4_OFFSET_MASK ? nk_header(skb, offset & NK_L4_OFFSET_MASK, 8) : NULL;
		__u16 fragment;

		if (!header)
			return;
		if (found->proto == IPPROTO_FRAGMENT) {
			fragment = bpf_ntohs(*(__be16 *)(header + 2));
			found->fragment = (fragment & (NK_IP6_MF | NK_IP6_OFFSET) ? NK_FRAGMENT : 0) |
					  (fragment & NK_IP6_OFFSET ? NK_FRAGMENT_LATER : 0);
			found->id = *(__u32 *)(header + 4);
			found->header_len += 8;
		} else {
			found->header_len += (header[1] + 1) * 8;
		}
		found->proto = header[0];
		if (found->fragment & NK_FRAGMENT_LATER)
			return;
	}
}

static __always_inline bool nk_parse_ipv6(struct __sk_buff *skb, struct nk_ip *ip, struct nk_flow6_key *key)
{
	struct ipv6hdr *header = nk_header(skb, ETH_HLEN, sizeof(*header));
	struct nk_transport transport = {.header_len = sizeof(*header)};

	if (!header || header->version != 6)
		return false;
	transport.proto = header->nexthdr;
	*ip = (struct nk_ip){
	    .len = sizeof(*header) + bpf_ntohs(header->payload_len),
	    .traffic_class = *(__be32 *)header & bpf_htonl(NK_IP6_TRAFFIC_CLASS),
	    .ttl = header->hop_limit,
	    .whole = true,
	    .family = NK_IPV6,
	};
	*key = (struct nk_flow6_key){};
	__builtin_memcpy(&key->saddr, &header->saddr, sizeof(key->saddr));
	__builtin_memcpy(&key->daddr, &header->daddr, sizeof(key->daddr));
	// BIG TCP: the length is 0. Some kernels add the jumbo payload option (RFC 2675) inside the host, and take it
	// away when the packet is cut into segments (ipv6_hopopt_jumbo_remove).
	if (!header->payload_len && skb->gso_size) {
		ip->len = skb->len - ETH_HLEN;
		ip->jumbo = transport.proto == IPPROTO_HOPOPTS;
	}
	if (nk_is_extension(transport.proto))
		nk_skip_extensions(skb, &transport);
	ip->header_len = transport.header_len;
	key->proto = transport.proto;
	ip->fragment = transport.fragment;
	ip->id = transport.id;
	return nk_lengths_agree(skb, ip);
}

// Addresses and protocol of the key are set, the rest of it is zero.
static __always_inline bool nk_parse_ip(struct __sk_buff *skb, enum nk_family family, struct nk_ip *ip,
					struct nk_flow6_key *key)
{
	return family == NK_IPV4 ? nk_parse_ipv4(skb, ip, key) : nk_parse_ipv6(skb, ip, key);
}

// Of the protocols that are masqueraded: whether ports are what its header begins with.
static __always_inline bool nk_has_ports(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE || proto == IPPROTO_SCTP;
}

static __always_inline __u8 nk_icmp_proto(enum nk_family family)
{
	return family == NK_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
}

// An offset that was compared with the mask, for the verifier.
static __always_inline __u32 nk_bounded(__u32 offset)
{
	// The compiler knows from that comparison that the mask changes nothing, and would leave it out; 6.12's
	// verifier does not.
	barrier_var(offset);
	return offset & NK_L4_OFFSET_MASK;
}

static __always_inline __u32 nk_l4_offset(const struct nk_ip *ip)
{
	return nk_bounded(ETH_HLEN + ip->header_len);
}

// A transport header of `size` bytes (a constant), if the packet says and has as much.
static __always_inline void *nk_l4_header(struct __sk_buff *skb, const struct nk_ip *ip, __u32 size)
{
	if (ip->len - ip->header_len < size)
		return NULL;
	return nk_header(skb, nk_l4_offset(ip), size);
}

static __always_inline enum nk_l4_result nk_parse_tcp(struct __sk_buff *skb, const struct nk_ip *ip, struct nk_l4 *l4,
						      struct nk_flow6_key *key)
{
	struct tcphdr *header = nk_l4_header(skb, ip, sizeof(*header));

	if (!header)
		return NK_L4_MALFORMED;
	key->sport = header->source;
	key->dport = header->dest;
	l4->header_len = header->doff * 4;
	l4->tcp_flags = ((__u8 *)header)[13];
	if (l4->header_len < sizeof(*header) || l4->header_len > ip->len - ip->header_len)
		return NK_L4_MALFORMED;
	return NK_L4_OK;
}

static __always_inline enum nk_l4_result nk_parse_udp(struct __sk_buff *skb, const struct nk_ip *ip, struct nk_l4 *l4,
						      struct nk_flow6_key *key)
{
	struct udphdr *header = nk_l4_header(skb, ip, sizeof(*header));

	if (!header)
		return NK_L4_MALFORMED;
	// RFC 3828, 3.1: UDP-Lite has no packets without a checksum. (It covers the ports, whatever else it covers.)
	if (key->proto == IPPROTO_UDPLITE && !header->check)
		return NK_L4_MALFORMED;
	key->sport = header->source;
	key->dport = header->dest;
	l4->header_len = sizeof(*header);
	return NK_L4_OK;
}

// An association begins and ends like a connection: INIT, INIT ACK and ABORT are its SYN, SYN-ACK and RST; behind
// SHUTDOWN COMPLETE too there is nothing more.
static __always_inline __u8 nk_sctp_flags(__u8 chunk_type)
{
	if (chunk_type == NK_SCTP_INIT)
		return NK_TCP_SYN;
	if (chunk_type == NK_SCTP_INIT_ACK)
		return NK_TCP_SYN | NK_TCP_ACK;
	return chunk_type == NK_SCTP_ABORT || chunk_type == NK_SCTP_SHUTDOWN_COMPLETE ? NK_TCP_RST : 0;
}

// Nothing may be pulled: behind the common header of a large one are whole packets, each in a buffer of its own
// (SKB_GSO_SCTP: net/sctp/offload.c), and the first would lose its beginning.
static __always_inline enum nk_l4_result nk_parse_sctp(struct __sk_buff *skb, const struct nk_ip *ip, struct nk_l4 *l4,
						       struct nk_flow6_key *key)
{
	struct nk_sctp header;

	if (ip->len - ip->header_len < sizeof(header) ||
	    bpf_skb_load_bytes(skb, nk_l4_offset(ip), &header, sizeof(header)))
		return NK_L4_MALFORMED;
	key->sport = header.source;
	key->dport = header.dest;
	l4->header_len = offsetof(struct nk_sctp, chunk_type);
	l4->tcp_flags = nk_sctp_flags(header.chunk_type);
	return NK_L4_OK;
}

// The errors that quote the packet they are about. (A redirect is for the link.)
static __always_inline bool nk_is_icmp_error(enum nk_family family, __u8 type)
{
	if (family == NK_IPV6)
		return type >= NK_ICMP6_UNREACHABLE && type <= NK_ICMP6_PARAMETER_PROBLEM;
	return type == NK_ICMP_UNREACHABLE || type == NK_ICMP_TIME_EXCEEDED || type == NK_ICMP_PARAMETER_PROBLEM;
}

static __always_inline enum nk_l4_result nk_parse_icmp(struct __sk_buff *skb, const struct nk_ip *ip, struct nk_l4 *l4,
						       struct nk_flow6_key *key)
{
	struct nk_icmp_echo *header = nk_l4_header(skb, ip, sizeof(*header));
	__u8 request = ip->family == NK_IPV4 ? NK_ICMP_ECHO : NK_ICMP6_ECHO;
	__u8 reply = ip->family == NK_IPV4 ? NK_ICMP_ECHOREPLY : NK_ICMP6_ECHOREPLY;

	if (!header)
		return NK_L4_MALFORMED;
	l4->header_len = sizeof(*header);
	l4->echo_reply = header->type == reply;
	if (nk_is_icmp_error(ip->family, header->type))
		return NK_L4_ICMP_ERROR;
	if (header->code || (header->type != request && header->type != reply))
		return NK_L4_UNSUPPORTED;
	if (header->type == request)
		key->sport = header->id;
	else
		key->dport = header->id;
	return NK_L4_OK;
}

// Ports are as a flow key has them (abi.h): for ICMP echo, the id is the port of the side that asked, the other is 0.
// Not for fragments that are not the first: they have no transport header.
static __always_inline enum nk_l4_result nk_parse_l4(struct __sk_buff *skb, const struct nk_ip *ip, struct nk_l4 *l4,
						     struct nk_flow6_key *key)
{
	if (ETH_HLEN + ip->header_len > NK_L4_OFFSET_MASK)
		return NK_L4_UNSUPPORTED;
	if (key->proto == IPPROTO_TCP)
		return nk_parse_tcp(skb, ip, l4, key);
	if (key->proto == IPPROTO_UDP || key->proto == IPPROTO_UDPLITE)
		return nk_parse_udp(skb, ip, l4, key);
	if (key->proto == IPPROTO_SCTP)
		return nk_parse_sctp(skb, ip, l4, key);
	if (key->proto == nk_icmp_proto(ip->family))
		return nk_parse_icmp(skb, ip, l4, key);
	return NK_L4_UNSUPPORTED;
}
