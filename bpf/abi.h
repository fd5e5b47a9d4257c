// The ABI between the BPF programs and the daemon: keys, values, configuration and counters of every shared map.
//
// Both compilers read this file (clang for BPF, g++ for the daemon), so it is C that is also C++, has no padding the
// compiler chose, and asserts every size. Maps outlive the daemon (they are pinned), and a later version starts over
// them: any change of a size or meaning here raises that map's version in NK_PINNED_MAPS (below), and the daemon takes
// over what is in the old one (netd/datapath/upgrade.h).
//
// Byte order: a field of type __be16/__be32 or of type `nk_addr` is in network order, all others in host order.
#ifndef NETKITD_BPF_ABI_H
#define NETKITD_BPF_ABI_H

#include <linux/types.h>

#ifdef __cplusplus
#define NK_STATIC_ASSERT(condition, message) static_assert(condition, message)
#else
#define NK_STATIC_ASSERT(condition, message) _Static_assert(condition, message)
#endif

// The tests build a version that is to come as well, to upgrade to: whose flows are larger, and which has a counter and
// a map more. Users never see it.
#ifdef NETKITD_NEXT_VERSION
#define NK_NEXT_VERSION(...) __VA_ARGS__
#define NK_FLOWS_VERSION 3
#define NK_FLOW_SIZE 80
#else
#define NK_NEXT_VERSION(...)
#define NK_FLOWS_VERSION 2
#define NK_FLOW_SIZE 72
#endif

// Bounds of the node configuration; the daemon refuses a configuration that needs more.
#define NK_MAX_NETWORKS 16
#define NK_MAX_UPLINKS 256
#define NK_MAX_MTUS 8
#define NK_MAX_NON_MASQUERADE 1024 // prefixes, of each family
#define NK_MAX_HOST_PREFIXES 256   // that lie in a network's, of each family

// What is said of an uplink: the value of map `uplinks`, by ifindex.
enum nk_uplink_flag {
	// A bridge of this host's own by which no default route leads: another runtime's containers, virtual machines.
	NK_UPLINK_INNER_BRIDGE = 1 << 0,
	NK_UPLINK_STRICT =
	    1 << 1, // the host believes IPv4's sources there only if the way back is the same (rp_filter)
};

// An IPv4 address uses the first word; the other three are zero.
struct nk_addr {
	__be32 word[4];
};
NK_STATIC_ASSERT(sizeof(struct nk_addr) == 16, "nk_addr");

// ---- Node configuration: one global in .data.node, written by the daemon through the mapped skeleton -------------

enum nk_network_flag {
	// Sources of this network leave an uplink translated, or to a `non_masquerade` prefix, or not at all.
	NK_NETWORK_MASQUERADE = 1 << 0,
	NK_NETWORK_ISOLATED = 1 << 1,	      // nothing goes to another network, nor comes from one
	NK_NETWORK_FIXED_SOURCE = 1 << 2,     // masqueraded with `source` and no other address
	NK_NETWORK_SOURCE_MISSING = 1 << 3,   // which is not (yet) an address of the host
	NK_NETWORK_ACCEPT_FORWARDED = 1 << 4, // what the host's stack forwards gets in, whoever sent it
};

// A place that no network has: no unicast address begins like this.
#define NK_NO_PREFIX 0xffffffff

struct nk_network {
	struct nk_addr prefix; // first word NK_NO_PREFIX: the place is free
	struct nk_addr mask;
	struct nk_addr gateway; // an address of the host, the containers' default gateway
	struct nk_addr source;	// NK_NETWORK_FIXED_SOURCE
	__u32 flags;		// enum nk_network_flag
	__u32 reserved;
};
NK_STATIC_ASSERT(sizeof(struct nk_network) == 72, "nk_network");

struct nk_node {
	__u64 host_netns_cookie; // SO_NETNS_COOKIE of the namespace whose devices have the programs
	__u32 network4_count;
	__u32 network6_count;
	__u16 port_first; // masquerade pool, inclusive, host order; also the pool of ICMP echo ids
	__u16 port_last;
	__u32 route_generation;	     // raised by the daemon whenever a route that a flow remembers may be another now
	__u32 non_masquerade4_count; // prefixes in the maps `non_masquerade4` and `non_masquerade6`
	__u32 non_masquerade6_count;
	__u32 mtu_count;
	__u32 routed4_count; // networks that are not masqueraded
	__u32 routed6_count;
	__u32 host_prefix4_count; // prefixes in the maps `host_prefixes4` and `host_prefixes6`
	__u32 host_prefix6_count;
	__u32 upgrading; // flows may be missing that a former version's programs make (netd/datapath/upgrade.h)
	__u32 marking;	 // every program that translates marks what it has translated (lib/nat/host_flow.h)
	// Flows that every endpoint may have, and how many there may be of all before none gets more than that
	// (lib/nat/flow_share.h), of each family.
	__u32 flow_share4;
	__u32 flow_share6;
	__u32 flow_common4;
	__u32 flow_common6;
	// From one neighbour that an endpoint may have the host ask for to its next (lib/route/neighbour_share.h).
	__u32 neighbour_interval_ms;
	__u32 secret[4]; // random; another one after each start (lib/hash.h)
	// Below their device's, of routes (`mtu lock`) and of IPv6 on uplinks (as a router advertised): what the host's
	// stack heeds when it forwards. One more than there is room for is counted: then any may be one.
	__u32 mtus[NK_MAX_MTUS];
	struct nk_network network4[NK_MAX_NETWORKS];
	struct nk_network network6[NK_MAX_NETWORKS];
	__u32 host_device; // ifindex of netkitd0, where the host's stack and the containers meet (lib/host_device.h)
	__u8 host_device_mac[6];
	__u16 has_inner_bridge; // among the uplinks (lib/uplink_set.h)
	// A policy rule suppresses IPv6 routes, which the FIB helper does not heed (lib/route/route.h).
	__u32 suppressed6;
};
NK_STATIC_ASSERT(sizeof(struct nk_node) == 8 + 72 + 16 + 32 + 16 + 2 * 16 * 72, "nk_node");

// ---- Destinations that are not masqueraded: maps `non_masquerade4` and `non_masquerade6`, by longest prefix ------
//
// A masqueraded network's packet to such an address leaves with the container's own, and what comes from there gets in.
// The value says nothing.

struct nk_prefix4_key {
	__u32 length; // in bits
	__be32 addr;
};
NK_STATIC_ASSERT(sizeof(struct nk_prefix4_key) == 8, "nk_prefix4_key");

struct nk_prefix6_key {
	__u32 length;
	struct nk_addr addr;
};
NK_STATIC_ASSERT(sizeof(struct nk_prefix6_key) == 20, "nk_prefix6_key");

// ---- Endpoints: map `endpoints4` (and `endpoints6`), address -> endpoint -----------------------------------------

enum nk_device_mode {
	NK_DEVICE_NETKIT = 0,	 // L3 netkit, no addresses on the link
	NK_DEVICE_NETKIT_L2 = 1, // netkit with Ethernet addresses
	NK_DEVICE_VETH = 2,
};

struct nk_endpoint4_key {
	__be32 addr;
};
NK_STATIC_ASSERT(sizeof(struct nk_endpoint4_key) == 4, "nk_endpoint4_key");

struct nk_endpoint6_key {
	struct nk_addr addr;
};
NK_STATIC_ASSERT(sizeof(struct nk_endpoint6_key) == 16, "nk_endpoint6_key");

enum nk_endpoint_flag {
	NK_ENDPOINT_PUBLISHED = 1 << 0,	   // some of its ports are in the map `published_as`
	NK_ENDPOINT_ASKED_INSIDE = 1 << 1, // the programs': it may have flows that are NK_FLOW_INSIDE
};

struct nk_endpoint {
	__u32 ifindex;	   // the host's end: netkit primary or veth
	__u32 id;	   // the daemon's endpoint number, never reused while flows of it exist
	__u32 home;	   // which of the homes of the pool it has (lib/nat/ports.h); modulo how many there are
	__u32 device_mode; // enum nk_device_mode
	__u8 peer_mac[6];  // the container's end; zero in L3 netkit mode
	__u8 host_mac[6];  // the host's end; zero in L3 netkit mode
	__u32 flags;	   // enum nk_endpoint_flag
};
NK_STATIC_ASSERT(sizeof(struct nk_endpoint) == 32, "nk_endpoint");

// ---- Flows: map `flows4` (and `flows6`) ---------------------------------------------------------------------------
//
// A masqueraded flow has two entries with one value layout, each found by the packet as it arrives:
//   forward  key: source is the container           value: the source address and port to write
//   reverse  key: source is the remote, destination  value: the destination address and port to write
//            the translated address and port                (the container's), and where it is
// For ICMP echo `sport` is the id on the way out and 0 on the way in, and `dport` the other way round, so that both
// keys have the shape of a port pair.

enum nk_flow_direction {
	NK_FLOW_FORWARD = 0,
	NK_FLOW_REVERSE = 1,
};

struct nk_flow4_key {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
	__u8 proto;	// IPPROTO_*
	__u8 direction; // enum nk_flow_direction
	__u16 reserved; // zero
};
NK_STATIC_ASSERT(sizeof(struct nk_flow4_key) == 16, "nk_flow4_key");

struct nk_flow6_key {
	struct nk_addr saddr;
	struct nk_addr daddr;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 direction;
	__u16 reserved;
};
NK_STATIC_ASSERT(sizeof(struct nk_flow6_key) == 40, "nk_flow6_key");

// What this half has seen; the other half has its own. A lifetime follows from both (netd/nat/flows.h).
enum nk_flow_flag {
	NK_FLOW_SYN = 1 << 0, // a SYN, or SCTP's INIT, went this way
	NK_FLOW_FIN = 1 << 1, // a FIN went this way
	NK_FLOW_RST = 1 << 2, // a RST, or SCTP's ABORT: the container's is written to both halves, the other to its own
	NK_FLOW_ANSWERED = 1 << 3, // a reply was seen that was no RST (written to both halves)
	NK_FLOW_WITNESS = 1 << 4,  // forward: it began at a socket that can be looked up (lib/nat/owner_socket.h)
	NK_FLOW_INBOUND = 1 << 5,  // somebody outside began it, to a published port (written to both halves)
	// reverse: its container has not taken it up yet. It is not counted, and gives way to the latest of its like
	// (lib/nat/arrival.h).
	NK_FLOW_ARRIVING = 1 << 6,
	// A container of this host began it, to a published port (written to both halves): it is NK_FLOW_INBOUND too,
	// but nothing of it comes by an uplink (lib/nat/inside_client.h).
	NK_FLOW_INSIDE = 1 << 7,
	// forward, of datagrams from outside: its reverse half is not NK_FLOW_ARRIVING any more (lib/nat/flow_slots.h).
	NK_FLOW_TAKEN_UP = 1 << 8,
	NK_FLOW_OVER = 1 << 9, // reverse: it is about to be removed while it is NK_FLOW_ARRIVING (lib/nat/flow_share.h)
	// A program of the host's began it (written to both halves): it is NK_FLOW_INSIDE too (lib/nat/host_client.h).
	NK_FLOW_OF_HOST = 1 << 10,
};

struct nk_flow {
	__u64 last_seen_ns;  // CLOCK_MONOTONIC_COARSE; a few seconds late while packets flow
	__u64 created_ns;    // CLOCK_MONOTONIC_COARSE
	struct nk_addr addr; // address to write
	__be16 port;	     // port (or echo id) to write
	__u16 mtu;	     // forward: of the route, as far as 16 bits go; reverse: zero
	__u32 flags;	     // enum nk_flow_flag; 32 bits, so that both directions can set bits atomically
	__u32 ifindex;	     // reverse: the endpoint's host end; forward: the uplink the address was chosen for
	__u32 endpoint_id;   // owner: nk_endpoint.id, NK_HOST_ID, NK_HOST_ANSWERS_ID, NK_HOST_ASKED_ID
	// For as long as the stamp is the current one, the rest of this entry is believed (lib/nat/fast.h). Zero never
	// is; reverse: zero before the first reply, but of TCP's that somebody outside began.
	__u32 stamp;
	// forward: the device that it comes from, and the way to the next hop; reverse: the device that its packets
	// come by, or 0; of NK_HOST_ANSWERS_ID and NK_HOST_ASKED_ID, the first is its number among those
	__u32 container_ifindex;
	__u8 next_hop_mac[6];
	__u8 uplink_mac[6];
	union {
		__u32 uplink_ifindex;	 // forward
		__u32 host_socket_stamp; // reverse: when a socket of the host's was found that would receive its
					 // datagrams
	};
	NK_NEXT_VERSION(__u64 more;)
};
NK_STATIC_ASSERT(sizeof(struct nk_flow) == NK_FLOW_SIZE, "nk_flow");

// Owner of the host's own flows, and of those of other NATs on it: no endpoint has this number. Such a flow is a
// reverse half alone, with nothing to write (lib/nat/host_flow.h).
#define NK_HOST_ID 0
// Owner of those flows of the host's that answer what anybody may send: there are so many at most, the latest.
#define NK_HOST_ANSWERS_ID 0xffffffff
// Owner of those that somebody has only begun: there are as many.
#define NK_HOST_ASKED_ID 0xfffffffe
#define NK_HOST_ANSWERS 2048

// ---- Published ports --------------------------------------------------------------------------------------------
//
// A frontend is a port of the host's where somebody outside reaches a container: map `frontends`, to where it leads.
// Written last, and removed first: the port's bit in `.data.published`, without which nobody asks for a frontend.

struct nk_service_key {
	struct nk_addr addr; // zero: all of `own_addresses` that are NK_OWN_FOR_ALL
	__be16 port;
	__u8 proto;  // IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP
	__u8 family; // AF_INET, AF_INET6
};
NK_STATIC_ASSERT(sizeof(struct nk_service_key) == 20, "nk_service_key");

struct nk_frontend {
	struct nk_addr addr; // the container's
	__be16 port;
	__u16 hold_s;	   // how long who would connect is kept waiting for somebody who listens; 0: not at all
	__u32 endpoint_id; // nk_endpoint.id; NK_NO_CONTAINER
	__u32 sources;	   // who may come: nk_source_key.list; 0: everybody
	__u32 netns_id;	   // of the container's network namespace, as the host's has it (rtnetlink(7), RTM_GETNSID)
	// CLOCK_MONOTONIC_COARSE: as far as anybody waits, since nobody listens; 0: when that was last looked at,
	// somebody did.
	__u64 held_until_ns;
};
NK_STATIC_ASSERT(sizeof(struct nk_frontend) == 40, "nk_frontend");

// Of a frontend whose container is gone, and which waits for the next one: no endpoint has this number.
#define NK_NO_CONTAINER 0

// The other way round, map `published_as`: a container's address and port, to the key of the frontend that leads there;
// of several, to one.

// Who may come to frontends: map `allowed_sources`, lists of prefixes by longest prefix; each of one family.
struct nk_source_key {
	__u32 length; // in bits, the list's number among them
	__u32 list;
	struct nk_addr addr;
};
NK_STATIC_ASSERT(sizeof(struct nk_source_key) == 24, "nk_source_key");

// Network namespaces of containers: map `namespaces`, by cookie. An address that it does not have is zero.
struct nk_namespace {
	struct nk_addr addr4;
	struct nk_addr addr6;
};
NK_STATIC_ASSERT(sizeof(struct nk_namespace) == 32, "nk_namespace");

// The host's own addresses: map `own_addresses`, to enum nk_own_flag. At others nothing is published, whatever a
// frontend says: an address may be another machine's by now. 127.0.0.1 stands for all of 127.0.0.0/8.
enum nk_own_flag {
	NK_OWN_FOR_ALL = 1 << 0, // what is published without an address is here too
};

struct nk_address_key {
	struct nk_addr addr;
	__u32 family; // AF_INET, AF_INET6
};
NK_STATIC_ASSERT(sizeof(struct nk_address_key) == 20, "nk_address_key");

enum nk_published_table {
	NK_PUBLISHED_TCP,
	NK_PUBLISHED_UDP,
	NK_PUBLISHED_SCTP,
	NK_PUBLISHED_TABLES,
};

#define NK_PORTS_IN_WORD 64
#define NK_PORT_WORDS (65536 / NK_PORTS_IN_WORD)

// A place is an address with a port of a protocol: the upper bits of a hash of it, which are (Knuth, The Art of
// Computer Programming, 6.4: multiplication by the golden ratio)
//   (address' four words folded by XOR << 32 | protocol << 16 | port, in network order both) * NK_PLACE_MULTIPLIER
// There are so many bits that a thousand ports at ten addresses leave fifty of fifty-one to those that are not
// published.
#define NK_PLACE_MULTIPLIER 0x9e3779b97f4a7c15ULL
#define NK_PLACE_BITS 19
#define NK_PLACES (1 << NK_PLACE_BITS)

// One global, `.data.published`.
struct nk_published {
	__u32 count; // of frontends: while there is none, nothing more is asked
	__u32 reserved;
	__u64 ports[NK_PUBLISHED_TABLES][NK_PORT_WORDS]; // a bit a port, of any address and family
	__u64 places[NK_PLACES / NK_PORTS_IN_WORD];	 // a bit a place: where it is not set, nothing is published
};
NK_STATIC_ASSERT(sizeof(struct nk_published) == 8 + NK_PUBLISHED_TABLES * 8192 + 65536, "nk_published");

#define NK_MAX_FRONTENDS 65536
#define NK_MAX_OWN_ADDRESSES 4096
#define NK_MAX_ALLOWED_SOURCES 262144
#define NK_MAX_NAMESPACES 65536

// How many flows of both families may be NK_FLOW_ARRIVING.
#define NK_ARRIVALS 2048
// The same of each client of this host that is a container, which has them with every sixteenth other one.
#define NK_ARRIVALS_INSIDE 128

// ---- How many flows an endpoint has: map `flow_counts`, nk_endpoint.id -> flows -------------------------------------
//
// Each reverse half in the flow maps is counted, in the run of a program that inserts or removes it.

struct nk_flow_counts {
	__u32 flows4;
	__u32 flows6;
};
NK_STATIC_ASSERT(sizeof(struct nk_flow_counts) == 8, "nk_flow_counts");

// How many times what is free of the common half an endpoint may have of it (lib/nat/flow_share.h).
#define NK_FLOW_GREED 8

// ---- How many unknown neighbours may be asked for (lib/route/neighbour_share.h) ------------------------------------
//
// So many milliseconds are between two of them, for all endpoints together, and once more for their shares.

#define NK_NEIGHBOUR_INTERVAL_MS 32

// ---- The masquerade pool's division: commons, and homes (lib/nat/ports.h) -------------------------------------------
//
// The last quarter of a pool that is not too small for it is homes, blocks of so many ports.

#define NK_HOME_PORTS 16
#define NK_LEAST_POOL_WITH_HOMES 1024
#define NK_POOL_HOMES(ports) ((ports) < NK_LEAST_POOL_WITH_HOMES ? 0 : (ports) / 4 / NK_HOME_PORTS)

// skb->tc_index of a copy that went to the stack because the next hop is not known (bpf/lib/container.h): nothing but
// the stack's answer may come of it. A container that sets it itself gains nothing.
#define NK_TC_INDEX_COPY 0x6e6b

// skb->tc_index of what a container's program has translated: not the host's, although it leaves with its address. A
// container that sets it itself gains nothing: what it sends otherwise does not leave with that address.
#define NK_TC_INDEX_TRANSLATED 0x6e6c

// ---- Counters: per-CPU array `counters`, index -> packets and bytes ----------------------------------------------
//
// X(symbol, name users see, what it means and what to do). One list: the BPF enum, status and metrics come from it. A
// counter's number is for ever, since the map outlives the daemon: a new one goes to the end of its list.

// clang-format off
#define NK_DROP_REASONS(X) \
	X(NK_DROP_SPOOFED_SOURCE,     "spoofed-source",      "the container used a source address that is not its own") \
	X(NK_DROP_MALFORMED,          "malformed",           "the packet's headers are truncated or contradict each other") \
	X(NK_DROP_NOT_IP,             "not-ip",              "the container sent something other than IPv4, IPv6 or ARP") \
	X(NK_DROP_IPV6_DISABLED,      "ipv6-disabled",       "the container sent IPv6, which no network of this node has") \
	X(NK_DROP_LINK_SCOPE,         "link-scope",          "ARP and IPv6 that ends at the link: multicast, link-local, probes, announcements") \
	X(NK_DROP_FRAGMENT,           "fragment",            "a fragment whose first one was not seen, or holds no ports") \
	X(NK_DROP_PROTOCOL,           "protocol",            "a protocol that is not masqueraded (TCP, UDP, UDP-Lite, SCTP, ICMP are), or more headers before it than are read") \
	X(NK_DROP_NO_UPLINK,          "no-uplink",           "the route leads to a device that is not an uplink, or into a tunnel: answered as unreachable") \
	X(NK_DROP_NO_SOURCE,          "no-source-address",   "the address to masquerade with is not there: the uplink's, or the network's own") \
	X(NK_DROP_ROUTE,              "route",               "the route is a blackhole") \
	X(NK_DROP_FORWARDING_OFF,     "forwarding-disabled", "net.ipv4 or ipv6.conf.netkitd0.forwarding was turned off") \
	X(NK_DROP_TOO_BIG,            "too-big",             "larger than the path's MTU, and may not be fragmented here: segments that are masqueraded, and this host's datagrams to a veth") \
	X(NK_DROP_TTL,                "ttl-expired",         "a reply reached the node with its TTL used up") \
	X(NK_DROP_PORTS_EXHAUSTED,    "ports-exhausted",     "no free masquerade port towards that destination") \
	X(NK_DROP_FLOW_TABLE_FULL,    "flow-table-full",     "the flow table has no room") \
	X(NK_DROP_NO_FLOW,            "no-flow",             "a reset, echo reply or ICMP error that belongs to no flow, or the host's reset from a port of the pool") \
	X(NK_DROP_UNSOLICITED,        "unsolicited",         "from outside, or forwarded by the host, to a container's own address, where neither `non_masquerade_cidrs` nor `accept_forwarded` lets it in") \
	X(NK_DROP_UNTRANSLATED,       "untranslated-source", "would have left an uplink with a container's address") \
	X(NK_DROP_REWRITE_FAILED,     "rewrite-failed",      "the kernel could not change the packet (out of memory)") \
	X(NK_DROP_SCTP_PORT,          "sctp-port",           "an SCTP port that is taken, or not of the pool: it must be kept") \
	X(NK_DROP_ISOLATED,           "isolated",            "between two networks, one of which is isolated") \
	X(NK_DROP_LOOPBACK,           "loopback",            "the container sent to or from a loopback address: those end in its own stack") \
	X(NK_DROP_UPGRADING,          "upgrading",           "during an upgrade, of a flow that is still to be taken over; its sender sends it again") \
	X(NK_DROP_FLOW_SHARE,         "flow-share",          "the container has more flows than its share of the flow table, and others need the rest") \
	X(NK_DROP_NEIGHBOUR_SHARE,    "neighbour-share",     "the container sends to more unknown neighbours than its share: the host's neighbour table is for all") \
	X(NK_DROP_PORT_TAKEN,         "port-taken",          "the host, or another NAT on it, sends from their port: keep those off the port pool (netd/README.md)") \
	X(NK_DROP_NO_CONTAINER,       "no-container",        "to an address of a network that no container has: answered as unreachable") \
	X(NK_DROP_POLICY_RULE,        "policy-rule",         "an IPv6 policy rule suppresses routes (status): by which way, containers can't tell") \
	X(NK_DROP_PORT_CLASH,         "port-clash",          "one client's port to two published ports that lead to the same one of a container's") \
	X(NK_DROP_NOT_ALLOWED,        "not-allowed",         "to a published port, from somebody whom its `allow` does not name") \
	X(NK_DROP_HELD,               "held",                "to a published port that nobody listens at yet: kept waiting, as its `hold` says") \
	NK_NEXT_VERSION(X(NK_DROP_NEXT_VERSION, "next-version", "of the tests"))

// Not drops: packets handed to the host's stack, and masquerade events worth seeing.
#define NK_EVENTS(X) \
	X(NK_EVENT_STACK_HOST,        "stack-host",          "to the host itself, or no route matched: the stack answers") \
	X(NK_EVENT_STACK_TTL,         "stack-ttl",           "TTL used up: the stack answers") \
	X(NK_EVENT_STACK_TOO_BIG,     "stack-too-big",       "too big with DF: the stack answers") \
	X(NK_EVENT_STACK_NO_ROUTE,    "stack-no-route",      "unreachable or prohibited: the stack answers") \
	X(NK_EVENT_FLOW_CREATED,      "flow-created",        "masqueraded flows begun") \
	X(NK_EVENT_FLOW_ESTABLISHED,  "flow-established",    "masqueraded flows that got their first reply") \
	X(NK_EVENT_PORT_CHANGED,      "port-changed",        "flows whose source port could not be kept") \
	X(NK_EVENT_NEIGHBOUR_MISSING, "neighbour-missing",   "packets that waited for the next hop's address") \
	X(NK_EVENT_NEIGHBOUR_ANSWERED, "neighbour-answered", "containers' ARP and neighbour solicitations that were answered") \
	X(NK_EVENT_ICMP_ERROR,        "icmp-error",          "ICMP errors about masqueraded flows, translated") \
	X(NK_EVENT_STACK_FRAGMENTS,   "stack-fragments",     "too big without DF: the stack fragments, uplink_egress translates") \
	X(NK_EVENT_STACK_NEIGHBOUR,   "stack-neighbour",     "the next hop is not known: the stack got a copy, to answer if none is found") \
	X(NK_EVENT_COPY_ENDED,        "copy-ended",          "such copies that were not needed: the packet itself left") \
	X(NK_EVENT_HOST_FLOW,         "host-flow",           "flows of the host, or of another NAT on it, from a port of the pool") \
	X(NK_EVENT_HOST_TOOK_PORT,    "host-took-port",      "such flows that ended a container's with the same port to the same remote") \
	X(NK_EVENT_HOST_FLOW_REFUSED, "host-flow-refused",   "such flows beyond the host's share of the flow table: containers may take their ports") \
	X(NK_EVENT_FLOW_ARRIVED,      "flow-arrived",        "flows that clients began, to published ports")
// clang-format on

#define NK_COUNTER_SYMBOL(symbol, name, text) symbol,
enum nk_counter {
	NK_DROP_REASONS(NK_COUNTER_SYMBOL) NK_DROP_COUNT,
	NK_EVENT_FIRST = 128,
	NK_EVENT_BEFORE_FIRST = NK_EVENT_FIRST - 1,
	NK_EVENTS(NK_COUNTER_SYMBOL) NK_COUNTER_END,
};
#undef NK_COUNTER_SYMBOL

// Room for more of them: the map that is pinned keeps its size when one is added.
#define NK_COUNTER_ROOM 256
NK_STATIC_ASSERT(NK_DROP_COUNT <= NK_EVENT_FIRST, "every drop has room");
NK_STATIC_ASSERT(NK_COUNTER_END <= NK_COUNTER_ROOM, "every event has room");

struct nk_counter_value {
	__u64 packets;
	__u64 bytes;
};
NK_STATIC_ASSERT(sizeof(struct nk_counter_value) == 16, "nk_counter_value");

// ---- Drops of what containers sent: map `endpoint_drops`, ifindex of the host's end -> packets by reason ------------

#define NK_DROP_ROOM 64

// In place of an ifindex, which is never zero: packets of the host whose flow was not noted (lib/nat/host_flow.h). They
// leave all the same.
#define NK_DROPS_OF_HOST 0

struct nk_endpoint_drops {
	__u64 packets[NK_DROP_ROOM];
	__u64 last_ns[NK_DROP_ROOM]; // CLOCK_MONOTONIC_COARSE
	__u32 no_uplink_ifindex;     // of the device that the last route led to that is no uplink
	__u32 reserved;
};
NK_STATIC_ASSERT(sizeof(struct nk_endpoint_drops) == 2 * 8 * NK_DROP_ROOM + 8, "nk_endpoint_drops");
NK_STATIC_ASSERT(NK_DROP_COUNT <= NK_DROP_ROOM, "every reason has room");

// ---- Port search: per-CPU array `port_tries`, __u64 a bucket: new flows by how many ports were tried -------------
//
// A flow that got the first port is in none of them: those are the rest of "flow-created". One that got none is counted
// as "ports-exhausted".

#define NK_PORT_TRIES 32

enum nk_port_tries {
	NK_PORT_TRIES_4, // two to four
	NK_PORT_TRIES_8,
	NK_PORT_TRIES_16,
	NK_PORT_TRIES_32,
	NK_PORT_TRIES_BUCKETS,
};
NK_STATIC_ASSERT(NK_PORT_TRIES == 4 << NK_PORT_TRIES_32, "the last bucket ends with the last try");

// ---- How full the hashed maps are: what the program `map_counts` answers, which the daemon runs ------------------

struct nk_map_counts {
	__u64 flows4;
	__u64 flows6;
};
NK_STATIC_ASSERT(sizeof(struct nk_map_counts) == 16, "nk_map_counts");

// ---- Whether containers' sockets have these connections: what the program `owner_sockets` is asked ------------------
//
// The daemon runs it on a packet: an Ethernet header, and up to NK_SOCKET_QUESTIONS of these, which come back answered.

#define NK_SOCKET_QUESTIONS 64

struct nk_socket_question {
	struct nk_addr container;
	struct nk_addr remote;
	__be16 container_port;
	__be16 remote_port;
	__u32 netns_id; // the container's netns, as that of the host numbers it (IFLA_LINK_NETNSID, rtnetlink(7))
	__u8 family;	// AF_INET, AF_INET6
	__u8 proto;	// IPPROTO_TCP, IPPROTO_UDP
	__u8 answer;	// 1: a socket has it
	__u8 reserved;
};
NK_STATIC_ASSERT(sizeof(struct nk_socket_question) == 44, "nk_socket_question");

// ---- What the daemon changes in the flow maps: by the programs `remove_flows` and `insert_flows` --------------------
//
// It runs them on a packet: an Ethernet header, and up to as many of these, which come back answered. So an entry and
// the count of it change in one run, whenever the daemon is killed.

#define NK_FLOW_REMOVALS 48

struct nk_flow_removal {
	struct nk_flow6_key key; // of either half; an IPv4 address is its first word
	// As they were when the flow was judged to be over: one that has changed since is not.
	__u64 forward_seen_ns; // last_seen_ns of the forward half, or of the only one
	__u32 flags;	       // of the half that `key` is of
	__u32 other_flags;
	__u8 family;	// AF_INET, AF_INET6
	__u8 has_other; // the other half is there as well
	__u8 anyway;	// whatever has changed
	__u8 answer;	// 1: removed
	__u32 reserved;
};
NK_STATIC_ASSERT(sizeof(struct nk_flow_removal) == 64, "nk_flow_removal");

#define NK_FLOW_INSERTIONS 24

struct nk_flow_insertion {
	struct nk_flow6_key key;
	__u8 family;
	__u8 answer; // 0, or why not: EEXIST, E2BIG, ENOMEM
	__u16 reserved;
	__u32 reserved2;
	struct nk_flow value;
};
NK_STATIC_ASSERT(sizeof(struct nk_flow_insertion) == 48 + NK_FLOW_SIZE, "nk_flow_insertion");

// ---- The maps that are pinned, and the version of each one's layout -----------------------------------------------
//
// X(map, version). Raised with any change of its key, value, type or their meaning; tests/unit/abi/layouts has each
// version's.

// clang-format off
#define NK_PINNED_MAPS(X) \
	X(counters, 2) \
	X(endpoint_drops, 1) \
	X(endpoints4, 1) \
	X(endpoints6, 1) \
	X(flow_counts, NK_FLOWS_VERSION) \
	X(flows4, NK_FLOWS_VERSION) \
	X(flows6, NK_FLOWS_VERSION) \
	X(fragment_ids, 2) \
	X(fragments, 2) \
	X(non_masquerade4, 1) \
	X(non_masquerade6, 1) \
	X(origins, 2) \
	X(port_tries, 1) \
	X(sent_by_rule, 2) \
	NK_NEXT_VERSION(X(next_version, 1))

// Maps that former versions had, and their last version: flows without a reply were in maps of their own.
#define NK_FORMER_MAPS(X) \
	X(flows4_new, 1) \
	X(flows6_new, 1)
// clang-format on

#endif
