#include "harness/prog_run.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <ostream>
#include <ranges>
#include <span>
#include <stdexcept>

#include "base/join.h"
#include "datapath/address.h"
#include "datapath/bpf_log.h"
#include "datapath/flow_capacity.h"
#include "datapath/flow_key.h"
#include "datapath/prefix_map.h"
#include "datapath/run_program.h"
#include "link/sysctl.h"
#include "netkitd.skel.h"
#include "netlink/netns.h"

namespace netkitd::test {
namespace {

// The containers' ends stay in the node's own netns: no packet ever travels here.
constexpr std::uint32_t kSecret = 4711;
constexpr const char* kDevices = R"(
link set lo up
link add eth0 type veth peer name wire0
link add eth1 type veth peer name wire1
link add netkitd0 address 02:00:00:00:77:02 type veth peer name netkitd0-peer
link set netkitd0 arp off up
link set netkitd0-peer up
link add nkweb type veth peer name web
link add nkdb type veth peer name db
link add nkrouted type veth peer name routed
link set eth0 address 02:00:00:00:00:10 up
link set wire0 up
link set eth1 address 02:00:00:00:00:10 up
link set wire1 up
link set nkweb address 02:00:00:00:77:02 up
link set web up
link set nkdb address 02:00:00:00:77:02 up
link set db up
link set nkrouted address 02:00:00:00:77:02 up
link set routed up
address add 203.0.113.2/24 dev eth0
address add 2001:db8:113::2/64 dev eth0 nodad
address add 10.77.0.1/32 dev netkitd0
address add 10.88.0.1/32 dev netkitd0
address add 2001:db8:77::1/128 dev netkitd0 nodad
address add 2001:db8:88::1/128 dev netkitd0 nodad
route add default via 203.0.113.1
route add default via 2001:db8:113::1
route add unreachable 10.77.0.0/16
route add unreachable 10.88.0.0/24
route add unreachable 2001:db8:77::/64
route add unreachable 2001:db8:88::/64
neighbour add 203.0.113.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
neighbour add 2001:db8:113::1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
)";

// One destination for every answer of the FIB; 203.0.113.77 and 2001:db8:113::77 are those without a known neighbour.
constexpr const char* kSpecialRoutes = R"(
route add blackhole 192.0.2.1
route add unreachable 192.0.2.2
route add prohibit 192.0.2.3
route add 192.0.2.4 dev nkdb
route add 192.0.2.5 encap ip id 7 dst 203.0.113.1 dev eth0
route add 192.0.2.6 via 203.0.113.1 mtu lock 1300
route add throw 192.0.2.7
route add 192.0.2.8 dev eth1 src 10.77.0.1
route add blackhole 2001:db8:2::1
route add unreachable 2001:db8:2::2
route add prohibit 2001:db8:2::3
route add 2001:db8:2::4 dev nkdb
route add 2001:db8:2::5 encap ip6 id 7 dst 2001:db8:113::1 dev eth0
route add 2001:db8:2::6 via 2001:db8:113::1 mtu lock 1300
route add throw 2001:db8:2::7
route add 2001:db8:2::8 dev eth1 src 2001:db8:77::1
)";

bool is_ipv6(std::string_view text) {
    return text.contains(':');
}

nk_network network(std::string_view prefix, std::string_view mask, std::string_view gateway, std::uint32_t flags) {
    return {.prefix = to_nk_addr(prefix),
            .mask = to_nk_addr(mask),
            .gateway = to_nk_addr(gateway),
            .source = {},
            .flags = flags,
            .reserved = 0};
}

void configure(nk_node& node, const TestNode::Options& options) {
    node.network4[0] = network("10.77.0.0", "255.255.0.0", "10.77.0.1", NK_NETWORK_MASQUERADE);
    node.network4[1] = network("10.88.0.0", "255.255.255.0", "10.88.0.1", 0);
    node.network4_count = 2;
    node.routed4_count = 1;
    node.network6[0] = network("2001:db8:77::", "ffff:ffff:ffff:ffff::", "2001:db8:77::1", NK_NETWORK_MASQUERADE);
    node.network6[1] = network("2001:db8:88::", "ffff:ffff:ffff:ffff::", "2001:db8:88::1", 0);
    node.network6_count = 2;
    node.routed6_count = 1;
    node.host_netns_cookie = link::current_netns_cookie().value();
    node.host_device = if_nametoindex("netkitd0");
    node.mtus[0] = 1300;
    node.mtu_count = 1;
    node.marking = 1;
    node.secret[0] = kSecret;
    node.port_first = options.port_first;
    node.port_last = options.port_last;
    const datapath::FlowShares shares = datapath::flow_shares(options.flow_entries, 0);
    node.flow_share4 = node.flow_share6 = shares.share;
    node.neighbour_interval_ms = NK_NEIGHBOUR_INTERVAL_MS;
    node.flow_common4 = node.flow_common6 = shares.common;
}

Result<void> set_up_network(const NetworkNamespace& home) {
    home.run(formatted("ip -batch - <<'EOF'\n{}{}EOF\n", kDevices + 1, kSpecialRoutes + 1));
    home.await_address("2001:db8:113::2");
    NK_TRY(link::write_sysctl("ipv4/conf/netkitd0/forwarding", "1"));
    return link::write_sysctl("ipv6/conf/netkitd0/forwarding", "1");
}

nk_flow6_key key_of(const Flow& flow, nk_flow_direction direction) {
    const bool forward = direction == NK_FLOW_FORWARD;
    const bool icmp = flow.protocol == IPPROTO_ICMP || flow.protocol == IPPROTO_ICMPV6;
    const std::uint16_t remote_port = icmp ? 0 : flow.destination_port;
    return {.saddr = to_nk_addr(forward ? flow.source : flow.destination),
            .daddr = to_nk_addr(forward ? flow.destination : flow.translated),
            .sport = htons(forward ? flow.source_port : remote_port),
            .dport = htons(forward ? remote_port : flow.translated_port),
            .proto = flow.protocol,
            .direction = static_cast<std::uint8_t>(direction),
            .reserved = 0};
}

nk_flow value_of(const Flow& flow, nk_flow_direction direction) {
    const bool forward = direction == NK_FLOW_FORWARD;
    nk_flow value{};
    value.created_ns = 1;
    value.last_seen_ns = 1;
    value.addr = to_nk_addr(forward ? flow.translated : flow.source);
    value.port = htons(forward ? flow.translated_port : flow.source_port);
    value.flags = forward ? flow.forward_flags : flow.reverse_flags;
    value.ifindex = if_nametoindex(forward ? flow.uplink.c_str() : "nkweb");
    value.endpoint_id = flow.endpoint_id;
    value.uplink_ifindex = if_nametoindex(flow.uplink.c_str());
    return value;
}

// Of 2001:db8::/32 here, of which no address has its last three words empty.
bool is_ipv6(const nk_addr& address) {
    return address.word[1] != 0 || address.word[2] != 0 || address.word[3] != 0;
}

nk_flow4_key narrow(const nk_flow6_key& key) {
    return {.saddr = key.saddr.word[0],
            .daddr = key.daddr.word[0],
            .sport = key.sport,
            .dport = key.dport,
            .proto = key.proto,
            .direction = key.direction,
            .reserved = 0};
}

// Calls `use` with the key as its map has it.
template <typename Use>
auto with_key(const nk_flow6_key& key, Use use) {
    if (is_ipv6(key.saddr)) {
        return use(static_cast<const void*>(&key));
    }
    const nk_flow4_key key4 = narrow(key);
    return use(static_cast<const void*>(&key4));
}

template <typename Key>
std::vector<std::pair<Key, nk_flow>> read_map(int map) {
    std::vector<std::pair<Key, nk_flow>> found;
    Key key{};
    for (int error = bpf_map_get_next_key(map, nullptr, &key); error == 0;
         error = bpf_map_get_next_key(map, &key, &key)) {
        nk_flow value{};
        if (bpf_map_lookup_elem(map, &key, &value) == 0) {
            found.emplace_back(key, value);
        }
    }
    return found;
}

// SipHash-1-3, as its authors describe it, of 8 bytes.
std::uint64_t sip_hash(std::uint64_t key0, std::uint64_t key1, std::uint64_t message) {
    std::array<std::uint64_t, 4> v{key0 ^ 0x736f6d6570736575, key1 ^ 0x646f72616e646f6d, key0 ^ 0x6c7967656e657261,
                                   key1 ^ 0x7465646279746573};
    const auto round = [&] {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = std::rotl(v[1], 13) ^ v[0];
        v[3] = std::rotl(v[3], 16) ^ v[2];
        v[0] = std::rotl(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = std::rotl(v[1], 17) ^ v[2];
        v[3] = std::rotl(v[3], 21) ^ v[0];
        v[2] = std::rotl(v[2], 32);
    };
    for (const std::uint64_t word : {message, std::uint64_t{8} << 56}) {
        v[3] ^= word;
        round();
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    round();
    round();
    round();
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

// Zeros for a value; `copies`: one for each CPU if the map is such a one.
Bytes zeros_for(const bpf_map& map, int copies) {
    constexpr std::size_t kAlignment = 8;
    const std::size_t size = (bpf_map__value_size(&map) + kAlignment - 1) / kAlignment * kAlignment;
    return Bytes(size * static_cast<std::size_t>(copies));
}

// In one call: thousands of places for each of a thousand tests would take minutes in a VM.
void clear_array(const bpf_map& map, int copies) {
    std::uint32_t count = bpf_map__max_entries(&map);
    std::vector<std::uint32_t> slots(count);
    std::ranges::iota(slots, 0U);
    const Bytes zeros(zeros_for(map, copies).size() * count);
    if (bpf_map_update_batch(bpf_map__fd(&map), slots.data(), zeros.data(), &count, nullptr) != 0) {
        throw std::runtime_error(formatted("cannot clear map {}: {}", bpf_map__name(&map), std::strerror(errno)));
    }
}

// What the programs remember of a half that a test changes behind their backs (bpf/lib/nat/flow_slots.h).
void forget_slot(const bpf_map& slots, const nk_flow6_key& key, bool ipv6) {
    const bool forward = key.direction == NK_FLOW_FORWARD;
    const std::uint32_t part = bpf_map__max_entries(&slots) / 4;
    const std::uint32_t port = ntohs(key.sport ^ key.dport);
    const std::uint32_t slot = ((ipv6 ? 2U : 0U) + (forward ? 0U : 1U)) * part + port % part;
    const Bytes zeros = zeros_for(slots, libbpf_num_possible_cpus());
    bpf_map_update_elem(bpf_map__fd(&slots), &slot, zeros.data(), BPF_ANY);
}

void clear_hash(const bpf_map& map) {
    Bytes key(bpf_map__key_size(&map));
    while (bpf_map_get_next_key(bpf_map__fd(&map), nullptr, key.data()) == 0 &&
           bpf_map_delete_elem(bpf_map__fd(&map), key.data()) == 0) {
    }
}

void clear(const bpf_map& map) {
    if (bpf_map__is_internal(&map)) {
        return;
    }
    const bpf_map_type type = bpf_map__type(&map);
    if (type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY) {
        clear_array(map, type == BPF_MAP_TYPE_ARRAY ? 1 : libbpf_num_possible_cpus());
    } else {
        clear_hash(map);
    }
}

void clear_prefixes(const bpf_map& map, IpFamily family) {
    if (const auto removed = datapath::remove_other_prefixes(bpf_map__fd(&map), family, {}); !removed) {
        throw std::runtime_error(removed.error().message());
    }
}

std::string host_port(const nk_addr& address, __be16 port) {
    const IpAddr ip = datapath::to_ip_addr(address, is_ipv6(address) ? IpFamily::v6 : IpFamily::v4);
    return formatted("{}{}{}", ip.to_string(), ip.is_v4() ? ":" : " ", ntohs(port));
}

std::string flag_names(std::uint32_t flags) {
    constexpr std::array<std::pair<std::uint32_t, std::string_view>, 8> kFlags{{{NK_FLOW_SYN, "SYN"},
                                                                                {NK_FLOW_FIN, "FIN"},
                                                                                {NK_FLOW_RST, "RST"},
                                                                                {NK_FLOW_INBOUND, "INBOUND"},
                                                                                {NK_FLOW_ARRIVING, "ARRIVING"},
                                                                                {NK_FLOW_INSIDE, "INSIDE"},
                                                                                {NK_FLOW_TAKEN_UP, "TAKEN_UP"},
                                                                                {NK_FLOW_OF_HOST, "OF_HOST"}}};
    const auto is_set = [flags](const auto& flag) { return (flags & flag.first) != 0; };
    return join(kFlags | std::views::filter(is_set) | std::views::values, {}, " ");
}

std::string_view protocol_name(std::uint8_t protocol) {
    switch (protocol) {
        case IPPROTO_TCP:
            return "tcp";
        case IPPROTO_UDP:
            return "udp";
        case IPPROTO_UDPLITE:
            return "udplite";
        case IPPROTO_SCTP:
            return "sctp";
        default:
            return "icmp";
    }
}

std::string to_text(const nk_flow6_key& key, const nk_flow& value) {
    std::array<char, IF_NAMESIZE> device{};
    if (if_indextoname(value.ifindex, device.data()) == nullptr) {
        device = {"gone"};
    }
    return formatted("{} {} > {} {} {} [{}] endpoint {} {}", protocol_name(key.proto), host_port(key.saddr, key.sport),
                     host_port(key.daddr, key.dport), key.direction == NK_FLOW_FORWARD ? "from" : "to",
                     host_port(value.addr, value.port), flag_names(value.flags), value.endpoint_id, device.data());
}

Result<Verdict> to_verdict(Program program, std::uint32_t value) {
    const int verdict = static_cast<int>(value);
    if (verdict == (program == Program::netkit_peer ? int{NETKIT_PASS} : int{TCX_NEXT})) {
        return Verdict::pass;
    }
    if (verdict == TCX_DROP) {
        return Verdict::drop;
    }
    if (verdict == TCX_REDIRECT) {
        return Verdict::redirect;
    }
    return fail(ErrorKind::internal, "{} returned {}, which is no verdict of it", to_string(program), verdict);
}

}  // namespace

std::string_view to_string(Program program) {
    switch (program) {
        case Program::netkit_peer:
            return "netkit_peer";
        case Program::veth_ingress:
            return "veth_ingress";
        case Program::uplink_ingress:
            return "uplink_ingress";
        case Program::uplink_egress:
            return "uplink_egress";
        case Program::host_egress:
            return "host_egress";
        case Program::loopback_egress:
            return "loopback_egress";
    }
    return "?";
}

std::ostream& operator<<(std::ostream& out, Verdict verdict) {
    switch (verdict) {
        case Verdict::pass:
            return out << "pass";
        case Verdict::drop:
            return out << "drop";
        case Verdict::redirect:
            return out << "redirect";
    }
    return out;
}

std::vector<CounterName> counter_names() {
#define NK_DROP_NAME(symbol, name, text) CounterName{symbol, name, true},
#define NK_EVENT_NAME(symbol, name, text) CounterName{symbol, name, false},
    return {NK_DROP_REASONS(NK_DROP_NAME) NK_EVENTS(NK_EVENT_NAME)};
#undef NK_DROP_NAME
#undef NK_EVENT_NAME
}

void TestNode::Closer::operator()(netkitd_bpf* skeleton) const {
    netkitd_bpf__destroy(skeleton);
}

void TestNode::LinkCloser::operator()(bpf_link* link) const {
    bpf_link__destroy(link);
}

TestNode::TestNode(Skeleton skeleton, const Options& options)
    : options_(options), skeleton_(std::move(skeleton)), frontends_(maps_of_frontends()) {}
TestNode::TestNode(TestNode&&) noexcept = default;

TestNode::~TestNode() {
    links_.clear();
    if (skeleton_) {
        idle().push_back({.options = options_, .skeleton = std::move(skeleton_)});
    }
}

std::vector<TestNode::Loaded>& TestNode::idle() {
    static std::vector<Loaded> programs;
    return programs;
}

TestNode::Skeleton TestNode::take_idle(const Options& options) {
    const auto found = std::ranges::find_if(idle(), [&](const Loaded& loaded) {
        const Options& had = loaded.options;
        return had.flow_entries == options.flow_entries && had.netkit_peer == options.netkit_peer &&
               had.loopback_egress == options.loopback_egress;
    });
    if (found == idle().end()) {
        return nullptr;
    }
    Skeleton skeleton = std::move(found->skeleton);
    idle().erase(found);
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, skeleton->obj) {
        clear(*map);
    }
    skeleton->data_node->node = {};
    skeleton->data_published->published = {};
    return skeleton;
}

Result<TestNode::Skeleton> TestNode::load(const Options& options) {
    const datapath::BpfLog log;
    Skeleton skeleton(netkitd_bpf__open());
    if (!skeleton) {
        return fail_errno(errno, "open the BPF programs: {}", log.tail());
    }
    bpf_map__set_max_entries(skeleton->maps.flows4, options.flow_entries);
    bpf_map__set_max_entries(skeleton->maps.flows6, options.flow_entries);
    bpf_program__set_autoload(skeleton->progs.netkit_peer, options.netkit_peer);
    bpf_program__set_autoload(skeleton->progs.loopback_egress, options.loopback_egress);
    // Of devices without Ethernet, which no frame of a PROG_RUN comes from.
    bpf_program__set_autoload(skeleton->progs.uplink_l3_ingress, false);
    bpf_program__set_autoload(skeleton->progs.uplink_l3_egress, false);
    if (const int error = netkitd_bpf__load(skeleton.get()); error != 0) {
        return fail_errno(-error, "load the BPF programs:\n{}", log.tail());
    }
    return skeleton;
}

Result<TestNode> TestNode::create(const NetworkNamespace& home, const Options& options) {
    NK_TRY(set_up_network(home));
    Skeleton skeleton = take_idle(options);
    if (!skeleton) {
        skeleton = NK_TRY(load(options));
    }
    TestNode node(std::move(skeleton), options);
    configure(node.settings(), options);
    node.set_uplinks({"eth0", "eth1"});
    NK_TRY(node.add_endpoint("10.77.0.2", "nkweb", 1));
    NK_TRY(node.add_endpoint("10.77.0.3", "nkdb", 2));
    NK_TRY(node.add_endpoint("10.88.0.2", "nkrouted", 3));
    NK_TRY(node.add_endpoint("2001:db8:77::2", "nkweb", 1));
    NK_TRY(node.add_endpoint("2001:db8:77::3", "nkdb", 2));
    NK_TRY(node.add_endpoint("2001:db8:88::2", "nkrouted", 3));
    return node;
}

std::uint16_t first_fragment_id(std::string_view destination) {
    return static_cast<std::uint16_t>(sip_hash(kSecret, 0, to_nk_addr(destination).word[0]) >> 32);
}

datapath::Frontends::Maps TestNode::maps_of_frontends() const {
    const auto& maps = skeleton_->maps;
    return {.frontends = bpf_map__fd(maps.frontends),
            .published_as = bpf_map__fd(maps.published_as),
            .own_addresses = bpf_map__fd(maps.own_addresses),
            .allowed_sources = bpf_map__fd(maps.allowed_sources),
            .published = &skeleton_->data_published->published};
}

void TestNode::reset(const Options& options) const {
    skeleton_->data_published->published = {};
    frontends_ = datapath::Frontends(maps_of_frontends());
    // Nothing that was remembered before is believed any more (bpf/lib/nat/flow_slots.h).
    const std::uint32_t generation = settings().route_generation + 1;
    settings() = {};
    configure(settings(), options);
    settings().route_generation = generation;
    set_uplinks({"eth0", "eth1"});
    clear_array(*skeleton_->maps.next_hops, 1);
    clear_array(*skeleton_->maps.told_at_ns, libbpf_num_possible_cpus());
    clear_array(*skeleton_->maps.port_tries, libbpf_num_possible_cpus());
    clear_prefixes(*skeleton_->maps.non_masquerade4, IpFamily::v4);
    clear_prefixes(*skeleton_->maps.non_masquerade6, IpFamily::v6);
    clear_prefixes(*skeleton_->maps.host_prefixes4, IpFamily::v4);
    clear_prefixes(*skeleton_->maps.host_prefixes6, IpFamily::v6);
    clear_array(*skeleton_->maps.routes, libbpf_num_possible_cpus());
    clear_array(*skeleton_->maps.fragment_ids, 1);
    clear_rings();
    for_each_fragment([](int map, const Bytes& key, Bytes&) { bpf_map_delete_elem(map, key.data()); });
    for (const bpf_map* map :
         {skeleton_->maps.flows4, skeleton_->maps.flows6, skeleton_->maps.flow_counts, skeleton_->maps.neighbour_shares,
          skeleton_->maps.frontends, skeleton_->maps.published_as, skeleton_->maps.own_addresses,
          skeleton_->maps.allowed_sources}) {
        clear_hash(*map);
    }
}

// They are the largest part of a node, and few packets use them.
void TestNode::clear_rings() const {
    const bpf_map& ends = *skeleton_->maps.flow_ring_ends;
    const auto is_used = [&](std::uint32_t ring) {
        std::uint32_t end = 0;
        return bpf_map_lookup_elem(bpf_map__fd(&ends), &ring, &end) == 0 && end != 0;
    };
    if (std::ranges::any_of(std::views::iota(0U, bpf_map__max_entries(&ends)), is_used)) {
        clear_array(*skeleton_->maps.flow_rings, 1);
        clear_array(ends, 1);
    }
}

void TestNode::for_each_fragment(const std::function<void(int, const Bytes&, Bytes&)>& use) const {
    const bpf_map* map = skeleton_->maps.fragments;
    const int fd = bpf_map__fd(map);
    Bytes key(bpf_map__key_size(map));
    std::vector<Bytes> keys;
    for (int error = bpf_map_get_next_key(fd, nullptr, key.data()); error == 0;
         error = bpf_map_get_next_key(fd, key.data(), key.data())) {
        keys.push_back(key);
    }
    for (const Bytes& found : keys) {
        Bytes value(bpf_map__value_size(map));
        if (bpf_map_lookup_elem(fd, found.data(), value.data()) == 0) {
            use(fd, found, value);
        }
    }
}

void TestNode::age_fragments(std::chrono::nanoseconds time) const {
    for_each_fragment([&](int map, const Bytes& key, Bytes& value) {
        std::uint64_t seen_ns = 0;  // the value's first member
        std::memcpy(&seen_ns, value.data(), sizeof(seen_ns));
        seen_ns -= static_cast<std::uint64_t>(time.count());
        std::memcpy(value.data(), &seen_ns, sizeof(seen_ns));
        bpf_map_update_elem(map, key.data(), value.data(), BPF_EXIST);
    });
}

nk_node& TestNode::settings() const {
    return skeleton_->data_node->node;
}

nk_network& TestNode::network(std::size_t index, bool ipv6) const {
    return std::span(ipv6 ? settings().network6 : settings().network4)[index];
}

namespace {

Result<void> add_prefix(std::string_view text, const bpf_map* map4, const bpf_map* map6, __u32& count4, __u32& count6) {
    const std::vector<IpPrefix> prefixes{NK_TRY(IpPrefix::parse(text))};
    const IpFamily family = prefixes.front().address().family();
    const bool v4 = family == IpFamily::v4;
    ++(v4 ? count4 : count6);
    return datapath::add_prefixes(bpf_map__fd(v4 ? map4 : map6), family, prefixes);
}

void set_uplink(int map, const char* device, std::uint32_t flags) {
    const std::uint32_t ifindex = if_nametoindex(device);
    if (bpf_map_update_elem(map, &ifindex, &flags, BPF_ANY) != 0) {
        throw std::runtime_error(formatted("{} is not to be an uplink: {}", device, std::strerror(errno)));
    }
}

}  // namespace

void TestNode::set_uplinks(const std::vector<const char*>& devices) const {
    clear_hash(*skeleton_->maps.uplinks);
    for (const char* device : devices) {
        set_uplink(bpf_map__fd(skeleton_->maps.uplinks), device, 0);
    }
}

void TestNode::set_inner_bridge(const char* device) const {
    set_uplink(bpf_map__fd(skeleton_->maps.uplinks), device, NK_UPLINK_INNER_BRIDGE);
    settings().has_inner_bridge = 1;
}

Result<void> TestNode::add_non_masquerade(std::string_view text) const {
    return add_prefix(text, skeleton_->maps.non_masquerade4, skeleton_->maps.non_masquerade6,
                      settings().non_masquerade4_count, settings().non_masquerade6_count);
}

Result<void> TestNode::add_host_prefix(std::string_view text) const {
    return add_prefix(text, skeleton_->maps.host_prefixes4, skeleton_->maps.host_prefixes6,
                      settings().host_prefix4_count, settings().host_prefix6_count);
}

std::vector<std::uint64_t> TestNode::port_tries() const {
    std::vector<std::uint64_t> sums(NK_PORT_TRIES_BUCKETS);
    std::vector<std::uint64_t> per_cpu(static_cast<std::size_t>(libbpf_num_possible_cpus()));
    for (std::uint32_t bucket = 0; bucket < sums.size(); bucket++) {
        bpf_map_lookup_elem(bpf_map__fd(skeleton_->maps.port_tries), &bucket, per_cpu.data());
        sums[bucket] = std::accumulate(per_cpu.begin(), per_cpu.end(), std::uint64_t{0});
    }
    return sums;
}

nk_addr to_nk_addr(std::string_view text) {
    return datapath::to_nk_addr(IpAddr::parse(text).value());  // a test's own literal
}

int TestNode::flow_map(bool ipv6) const {
    return bpf_map__fd(ipv6 ? skeleton_->maps.flows6 : skeleton_->maps.flows4);
}

int TestNode::flow_count_map() const {
    return bpf_map__fd(skeleton_->maps.flow_counts);
}

int TestNode::insert_flows_program() const {
    return bpf_program__fd(skeleton_->progs.insert_flows);
}

int TestNode::counter_map() const {
    return bpf_map__fd(skeleton_->maps.counters);
}

bpf_program* TestNode::program(Program program) const {
    switch (program) {
        case Program::netkit_peer:
            return skeleton_->progs.netkit_peer;
        case Program::veth_ingress:
            return skeleton_->progs.veth_ingress;
        case Program::uplink_ingress:
            return skeleton_->progs.uplink_ingress;
        case Program::uplink_egress:
            return skeleton_->progs.uplink_egress;
        case Program::host_egress:
            return skeleton_->progs.host_egress;
        case Program::loopback_egress:
            return skeleton_->progs.loopback_egress;
    }
    return nullptr;
}

int TestNode::program_fd(Program program) const {
    return bpf_program__fd(this->program(program));
}

Result<void> TestNode::attach(Program program, std::string_view device) {
    const auto ifindex = static_cast<int>(if_nametoindex(std::string(device).c_str()));
    Link link(bpf_program__attach_tcx(this->program(program), ifindex, nullptr));
    if (!link) {
        return fail_errno(errno, "attach {} to {}", to_string(program), device);
    }
    links_.push_back(std::move(link));
    return {};
}

Result<void> TestNode::add_endpoint(std::string_view address, std::string_view device, std::uint32_t id,
                                    nk_device_mode mode) const {
    const nk_addr key = to_nk_addr(address);  // that of IPv4 is its first word
    const bpf_map* map = is_ipv6(address) ? skeleton_->maps.endpoints6 : skeleton_->maps.endpoints4;
    nk_endpoint endpoint{};
    endpoint.ifindex = if_nametoindex(std::string(device).c_str());
    endpoint.id = id;
    endpoint.home = id + kFirstEndpointsHome;
    endpoint.device_mode = mode;
    if (mode != NK_DEVICE_NETKIT) {
        std::ranges::copy(kContainerMac, endpoint.peer_mac);
        std::ranges::copy(kHostEndMac, endpoint.host_mac);
    }
    if (bpf_map_update_elem(bpf_map__fd(map), &key, &endpoint, BPF_ANY) != 0) {
        return fail_errno(errno, "add endpoint {}", address);
    }
    return {};
}

Result<void> TestNode::publish(const datapath::Frontend& frontend) const {
    const nk_addr key = to_nk_addr(frontend.container.to_string());
    const int map = bpf_map__fd(frontend.container.is_v4() ? skeleton_->maps.endpoints4 : skeleton_->maps.endpoints6);
    nk_endpoint endpoint{};
    if (bpf_map_lookup_elem(map, &key, &endpoint) != 0) {
        return fail_errno(errno, "find endpoint {}", frontend.container.to_string());
    }
    endpoint.flags |= NK_ENDPOINT_PUBLISHED;
    bpf_map_update_elem(map, &key, &endpoint, BPF_ANY);
    std::vector<datapath::OwnAddress> own;
    for (const char* const address :
         {"127.0.0.1", "::1", "203.0.113.2", "2001:db8:113::2", "203.0.113.9", "2001:db8:113::9"}) {
        own.push_back(
            {.address = IpAddr::parse(address).value(), .for_all = !std::string_view(address).ends_with('9')});
    }
    NK_TRY(frontends_.set_addresses(own));
    return frontends_.put(std::span(&frontend, 1));
}

Result<void> TestNode::end(const datapath::Frontend& frontend) const {
    return frontends_.end(std::span(&frontend, 1));
}

Result<void> TestNode::take_back(const datapath::Frontend& frontend) const {
    return frontends_.remove(std::span(&frontend, 1));
}

Result<void> TestNode::update(const nk_flow6_key& key, const nk_flow& value) const {
    const int map = flow_map(is_ipv6(key.saddr));
    if (with_key(key, [&](const void* k) { return bpf_map_update_elem(map, k, &value, BPF_ANY); }) != 0) {
        return fail_errno(errno, "insert a flow");
    }
    forget_slot(*skeleton_->maps.flow_slots, key, is_ipv6(key.saddr));
    return {};
}

Result<void> TestNode::insert(Stage stage, nk_flow_direction direction, const Flow& flow) const {
    nk_flow value = value_of(flow, direction);
    value.flags |= stage == Stage::established ? std::uint32_t{NK_FLOW_ANSWERED} : 0;
    return update(key_of(flow, direction), value);
}

Result<void> TestNode::insert(Stage stage, const Flow& flow) const {
    NK_TRY(insert(stage, NK_FLOW_FORWARD, flow));
    return insert(stage, NK_FLOW_REVERSE, flow);
}

Result<void> TestNode::erase(nk_flow_direction direction, const Flow& flow) const {
    const int map = flow_map(is_ipv6(flow.source));
    const nk_flow6_key key = key_of(flow, direction);
    if (with_key(key, [&](const void* k) { return bpf_map_delete_elem(map, k); }) != 0) {
        return fail_errno(errno, "delete a flow");
    }
    forget_slot(*skeleton_->maps.flow_slots, key, is_ipv6(flow.source));
    return {};
}

void TestNode::lose_flows() const {
    clear_hash(*skeleton_->maps.flows4);
    clear_hash(*skeleton_->maps.flows6);
}

Result<bool> TestNode::forget(const Flow& flow, nk_flow_direction half) const {
    nk_flow_removal removal{};
    removal.key = key_of(flow, half);
    removal.family = is_ipv6(flow.source) ? AF_INET6 : AF_INET;
    removal.anyway = 1;
    NK_TRY(datapath::run_program(bpf_program__fd(skeleton_->progs.remove_flows), std::span(&removal, 1),
                                 NK_FLOW_REMOVALS, "forget a flow"));
    return removal.answer == 1;
}

std::optional<nk_flow> TestNode::find(nk_flow_direction direction, const Flow& flow) const {
    const int map = flow_map(is_ipv6(flow.source));
    nk_flow value{};
    const auto look_up = [&](const void* key) { return bpf_map_lookup_elem(map, key, &value); };
    return with_key(key_of(flow, direction), look_up) == 0 ? std::optional(value) : std::nullopt;
}

nk_flow_counts TestNode::flow_counts(std::uint32_t endpoint_id) const {
    nk_flow_counts counts{};
    bpf_map_lookup_elem(flow_count_map(), &endpoint_id, &counts);
    return counts;
}

std::vector<TestNode::Entry> TestNode::entries() const {
    auto found = read_map<nk_flow6_key>(flow_map(true));
    for (const auto& [key, value] : read_map<nk_flow4_key>(flow_map(false))) {
        found.emplace_back(datapath::widen(key), value);
    }
    return found;
}

std::vector<TestNode::Entry> TestNode::entries(Stage stage) const {
    auto found = entries();
    std::erase_if(found, [&](const Entry& entry) {
        return ((entry.second.flags & NK_FLOW_ANSWERED) != 0) != (stage == Stage::established);
    });
    return found;
}

std::vector<std::string> TestNode::flows(Stage stage) const {
    std::vector<std::string> lines;
    for (const auto& [key, value] : entries(stage)) {
        lines.push_back(to_text(key, value));
    }
    std::ranges::sort(lines);
    return lines;
}

std::map<std::string, std::uint64_t> TestNode::counted() const {
    std::map<std::string, std::uint64_t> sums;
    std::vector<nk_counter_value> per_cpu(static_cast<std::size_t>(libbpf_num_possible_cpus()));
    for (const CounterName& counter : counter_names()) {
        bpf_map_lookup_elem(bpf_map__fd(skeleton_->maps.counters), &counter.number, per_cpu.data());
        for (const nk_counter_value& value : per_cpu) {
            sums[counter.name] += value.packets;
        }
    }
    std::erase_if(sums, [](const auto& entry) { return entry.second == 0; });
    return sums;
}

Result<TestNode::FrameResult> TestNode::run_frame(Program program, std::uint32_t ifindex,
                                                  std::span<const std::uint8_t> frame, Bytes& out,
                                                  const RunOptions& options) const {
    out.resize(frame.size() + 256);
    __sk_buff context{};
    context.ifindex = ifindex;
    context.gso_size = options.gso_size;
    context.mark = options.mark;
    context.ingress_ifindex = options.came_in_by.empty() ? 0 : if_nametoindex(options.came_in_by.c_str());
    bpf_test_run_opts run{};
    run.sz = sizeof(run);
    run.data_in = frame.data();
    run.data_size_in = static_cast<std::uint32_t>(frame.size());
    run.data_out = out.data();
    run.data_size_out = static_cast<std::uint32_t>(out.size());
    run.ctx_in = &context;
    run.ctx_size_in = sizeof(context);
    run.repeat = 1;
    run.flags = options.checksum_complete ? BPF_F_TEST_SKB_CHECKSUM_COMPLETE : 0;
    if (const int error = bpf_prog_test_run_opts(program_fd(program), &run); error != 0) {
        if (error == -EBADMSG) {
            return fail(ErrorKind::internal, "{} left a wrong sum of the whole packet", to_string(program));
        }
        return fail_errno(-error, "run {}", to_string(program));
    }
    out.resize(run.data_size_out);
    return FrameResult{.verdict = NK_TRY(to_verdict(program, run.retval)),
                       .took = std::chrono::nanoseconds(run.duration)};
}

Result<RunResult> TestNode::run(Program program, std::string_view device, const Packet& packet,
                                const RunOptions& options) const {
    RunResult result;
    const auto before = counted();
    const auto ran =
        NK_TRY(run_frame(program, if_nametoindex(std::string(device).c_str()), packet.bytes(), result.packet, options));
    result.verdict = ran.verdict;
    result.took = ran.took;
    for (const auto& [name, packets] : counted()) {
        const auto earlier = before.find(name);
        const std::uint64_t moved = packets - (earlier == before.end() ? 0 : earlier->second);
        if (moved != 0) {
            result.counted[name] = moved;
        }
    }
    return result;
}

Result<TestNode::ProgramSize> TestNode::size_of(Program program) const {
    bpf_prog_info info{};
    std::uint32_t size = sizeof(info);
    if (bpf_prog_get_info_by_fd(program_fd(program), &info, &size) != 0) {
        return fail_errno(errno, "ask about {}", to_string(program));
    }
    return ProgramSize{.instructions = info.xlated_prog_len / static_cast<std::uint32_t>(sizeof(bpf_insn)),
                       .verified = info.verified_insns};
}

}  // namespace netkitd::test
