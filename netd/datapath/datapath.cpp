#include "datapath/datapath.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <span>
#include <tuple>
#include <utility>

#include "base/log.h"
#include "base/parse_number.h"
#include "base/undo.h"
#include "datapath/address.h"
#include "datapath/attached_programs.h"
#include "datapath/bpf_log.h"
#include "datapath/link_pin.h"
#include "datapath/prefix_map.h"
#include "datapath/programs.h"
#include "datapath/run_program.h"
#include "datapath/slots.h"
#include "datapath/upgrade.h"
#include "netlink/netns.h"

namespace netkitd::datapath {
namespace {

using std::chrono::microseconds;

constexpr std::string_view kUplinkPrefix = "uplink-";
constexpr std::string_view kHostDevicePin = "host-egress";

std::string uplink_pin(std::uint32_t ifindex, std::string_view direction) {
    return formatted("{}{}-{}", kUplinkPrefix, ifindex, direction);
}

// An entry's key is the address as it is in an nk_addr: of IPv4, the kernel reads the first word only.
static_assert(sizeof(nk_endpoint4_key) == sizeof(in_addr) && sizeof(nk_endpoint6_key) == sizeof(nk_addr));

nk_addr mask_of(const IpPrefix& prefix) {
    std::array<std::uint8_t, 16> bytes{};
    bytes.fill(0xff);
    in6_addr all_ones{};
    std::memcpy(&all_ones, bytes.data(), bytes.size());
    const IpAddr ones = prefix.address().is_v4() ? IpAddr::v4(in_addr{.s_addr = INADDR_NONE}) : IpAddr::v6(all_ones);
    return to_nk_addr(IpPrefix(ones, prefix.length()).address());
}

nk_device_mode to_wire(link::DeviceMode mode) {
    switch (mode) {
        case link::DeviceMode::netkit:
            return NK_DEVICE_NETKIT;
        case link::DeviceMode::netkit_l2:
            return NK_DEVICE_NETKIT_L2;
        case link::DeviceMode::veth:
            return NK_DEVICE_VETH;
    }
    return NK_DEVICE_VETH;
}

link::DeviceMode from_wire(nk_device_mode mode) {
    switch (mode) {
        case NK_DEVICE_NETKIT:
            return link::DeviceMode::netkit;
        case NK_DEVICE_NETKIT_L2:
            return link::DeviceMode::netkit_l2;
        case NK_DEVICE_VETH:
            return link::DeviceMode::veth;
    }
    return link::DeviceMode::veth;
}

__u32 flag_if(bool condition, nk_network_flag flag) {
    return condition ? static_cast<__u32>(flag) : 0;
}

nk_network to_wire(const NodeNetwork& network) {
    return {.prefix = to_nk_addr(network.prefix.address()),
            .mask = mask_of(network.prefix),
            .gateway = to_nk_addr(network.gateway),
            .source = network.source ? to_nk_addr(*network.source) : nk_addr{},
            .flags = flag_if(network.masquerade, NK_NETWORK_MASQUERADE) |
                     flag_if(network.isolated, NK_NETWORK_ISOLATED) |
                     flag_if(network.accept_forwarded, NK_NETWORK_ACCEPT_FORWARDED) |
                     flag_if(network.source.has_value(), NK_NETWORK_FIXED_SOURCE) |
                     flag_if(network.source_missing, NK_NETWORK_SOURCE_MISSING),
            .reserved = 0};
}

std::vector<nk_network> networks_of(const NodeSettings& settings, IpFamily family) {
    std::vector<nk_network> result;
    for (const NodeNetwork& network : settings.networks) {
        if (network.prefix.address().family() == family) {
            result.push_back(to_wire(network));
        }
    }
    return result;
}

// Of more than there is room for, programs take any MTU for one of them: so it is while they are written.
void write_mtus(nk_node& node, const std::vector<std::uint32_t>& wanted) {
    const std::span<const std::uint32_t> fitting(wanted.data(), std::min<std::size_t>(wanted.size(), NK_MAX_MTUS));
    if (!std::ranges::equal(fitting, std::span(node.mtus).first(fitting.size()))) {
        publish(node.mtu_count, static_cast<__u32>(NK_MAX_MTUS + 1));
        std::ranges::copy(fitting, std::begin(node.mtus));
    }
    publish(node.mtu_count, static_cast<__u32>(wanted.size()));
}

std::size_t count_of(const std::vector<IpPrefix>& prefixes, IpFamily family) {
    return static_cast<std::size_t>(
        std::ranges::count_if(prefixes, [&](const IpPrefix& prefix) { return prefix.address().family() == family; }));
}

Result<void> check_bounds(const NodeSettings& settings) {
    for (const IpFamily family : {IpFamily::v4, IpFamily::v6}) {
        const std::size_t networks = networks_of(settings, family).size();
        const std::size_t prefixes = count_of(settings.non_masquerade, family);
        const std::size_t hosts = count_of(settings.host, family);
        if (networks > NK_MAX_NETWORKS || settings.uplinks.size() > NK_MAX_UPLINKS ||
            prefixes > NK_MAX_NON_MASQUERADE || hosts > NK_MAX_HOST_PREFIXES) {
            return fail(
                ErrorKind::refused,
                "{} networks, {} uplinks, {} prefixes that are not masqueraded and {} of the host's in those of "
                "networks: at most {}, {}, {} and {} are possible",
                networks, settings.uplinks.size(), prefixes, hosts, NK_MAX_NETWORKS, NK_MAX_UPLINKS,
                NK_MAX_NON_MASQUERADE, NK_MAX_HOST_PREFIXES);
        }
    }
    return {};
}

// Two longest-prefix maps and how many are in them, of which programs look at none where there are none: so prefixes
// are counted after the first was added, and before the last is taken away.
class PrefixMaps {
public:
    PrefixMaps(const bpf_map* map4, const bpf_map* map6, __u32& count4, __u32& count6,
               const std::vector<IpPrefix>& wanted)
        : families_{{{IpFamily::v4, bpf_map__fd(map4), &count4}, {IpFamily::v6, bpf_map__fd(map6), &count6}}},
          wanted_(wanted) {}

    [[nodiscard]] Result<void> add() const {
        for (const auto& [family, map, count] : families_) {
            NK_TRY(add_prefixes(map, family, wanted_));
            publish(*count, static_cast<__u32>(count_of(wanted_, family)));
        }
        return {};
    }
    [[nodiscard]] Result<void> remove_others() const {
        for (const auto& [family, map, count] : families_) {
            NK_TRY(remove_other_prefixes(map, family, wanted_));
        }
        return {};
    }

private:
    std::array<std::tuple<IpFamily, int, __u32*>, 2> families_;
    const std::vector<IpPrefix>& wanted_;
};

// One value of a per-CPU array, of every CPU.
template <typename T>
Result<std::vector<T>> read_per_cpu(const bpf_map* map, std::uint32_t index) {
    const int cpus = libbpf_num_possible_cpus();
    if (cpus < 0) {
        return fail_errno(-cpus, "count the CPUs");
    }
    std::vector<T> values(static_cast<std::size_t>(cpus));
    if (bpf_map_lookup_elem(bpf_map__fd(map), &index, values.data()) != 0) {
        return fail_errno(errno, "read {} of map {}", index, bpf_map__name(map));
    }
    return values;
}

// The keys of a map of numbers.
std::vector<std::uint32_t> numbers_in(int map) {
    std::vector<std::uint32_t> numbers;
    std::uint32_t key = 0;
    for (int error = bpf_map_get_next_key(map, nullptr, &key); error == 0;
         error = bpf_map_get_next_key(map, &key, &key)) {
        numbers.push_back(key);
    }
    return numbers;
}

// What stays is found all the while. Programs read the map when a way is looked for.
Result<void> write_uplinks(int map, const std::map<std::uint32_t, std::uint32_t>& wanted) {
    for (const auto& [ifindex, flags] : wanted) {
        if (bpf_map_update_elem(map, &ifindex, &flags, BPF_ANY) != 0) {
            return fail_errno(errno, "add device {} to the uplinks", ifindex);
        }
    }
    for (const std::uint32_t ifindex : numbers_in(map)) {
        if (!wanted.contains(ifindex)) {
            bpf_map_delete_elem(map, &ifindex);
        }
    }
    return {};
}

nk_endpoint to_wire(const EndpointEntry& endpoint) {
    nk_endpoint wire{};
    wire.ifindex = endpoint.host_ifindex;
    wire.id = endpoint.id;
    wire.home = endpoint.home;
    wire.device_mode = to_wire(endpoint.device_mode);
    wire.flags = endpoint.publishes ? NK_ENDPOINT_PUBLISHED : 0;
    std::ranges::copy(endpoint.peer_mac.bytes, std::begin(wire.peer_mac));
    std::ranges::copy(endpoint.host_mac.bytes, std::begin(wire.host_mac));
    return wire;
}

EndpointEntry from_wire(const IpAddr& address, const nk_endpoint& wire) {
    EndpointEntry endpoint{.address = address,
                           .id = wire.id,
                           .home = wire.home,
                           .host_ifindex = wire.ifindex,
                           .device_mode = from_wire(static_cast<nk_device_mode>(wire.device_mode)),
                           .peer_mac = {},
                           .host_mac = {},
                           .publishes = (wire.flags & NK_ENDPOINT_PUBLISHED) != 0};
    std::ranges::copy(wire.peer_mac, endpoint.peer_mac.bytes.begin());
    std::ranges::copy(wire.host_mac, endpoint.host_mac.bytes.begin());
    return endpoint;
}

struct ProgramPair {
    bpf_program* ingress;
    bpf_program* egress;
};

Part part_of(UplinkKind kind) {
    return kind == UplinkKind::l3 ? Part::uplink_l3 : Part::uplink;
}

Part part_of(link::DeviceMode mode) {
    return link::is_netkit(mode) ? Part::netkit : Part::veth;
}

ProgramPair uplink_programs(const netkitd_bpf& skeleton, UplinkKind kind) {
    const auto& programs = skeleton.progs;
    return kind == UplinkKind::l3 ? ProgramPair{programs.uplink_l3_ingress, programs.uplink_l3_egress}
                                  : ProgramPair{programs.uplink_ingress, programs.uplink_egress};
}

Result<std::uint32_t> parse_uplink_pin(std::string_view name) {
    const std::string_view rest = name.substr(kUplinkPrefix.size());  // "3-ingress"
    const auto ifindex = parse_number<std::uint32_t>(rest.substr(0, rest.find('-')));
    if (!ifindex) {
        return fail(ErrorKind::internal, "{} is not the pin of an uplink", name);
    }
    return *ifindex;
}

// With what either says that failed.
Result<void> both(Result<void> one, const Result<void>& other) {
    if (!one && !other) {
        return fail(one.error().kind(), "{}; {}", one.error().message(), other.error().message());
    }
    keep_first(one, other);
    return one;
}

}  // namespace

Datapath::Datapath(std::unique_ptr<Programs> programs, Pins pins, std::unique_ptr<Upgrade> upgrade,
                   std::vector<std::string> former_maps)
    : programs_(std::move(programs)),
      pins_(std::move(pins)),
      upgrade_(std::move(upgrade)),
      former_maps_(std::move(former_maps)),
      frontends_({.frontends = bpf_map__fd(programs_->maps().frontends),
                  .published_as = bpf_map__fd(programs_->maps().published_as),
                  .own_addresses = bpf_map__fd(programs_->maps().own_addresses),
                  .allowed_sources = bpf_map__fd(programs_->maps().allowed_sources),
                  .published = &programs_->base().data_published->published}),
      namespaces_(bpf_map__fd(programs_->maps().namespaces)),
      socket_hooks_(*programs_, pins_),
      loopback_program_(*programs_, pins_) {}
Datapath::Datapath(Datapath&&) noexcept = default;
Datapath& Datapath::operator=(Datapath&&) noexcept = default;
Datapath::~Datapath() = default;

Result<Datapath> Datapath::open(const std::string& directory, std::optional<link::DeviceMode> expected) {
    Pins pins = NK_TRY(Pins::prepare(directory));
    const std::vector<Part> at_once = expected ? std::vector{part_of(*expected), Part::uplink} : std::vector<Part>();
    Upgrade upgrade = NK_TRY(Upgrade::look(pins));
    std::vector<std::string> former_maps = NK_TRY(pins.map_names());
    UndoStack undo;  // with maps of this version's the one before would not start again
    undo.push("unpin the maps that were made", [&] { return pins.unpin_maps_except(former_maps); });
    auto programs = std::make_unique<Programs>(NK_TRY(Programs::load(pins, upgrade, at_once)));
    NK_TRY(upgrade.copy(programs->base(), pins));
    nk_node& node = programs->base().data_node->node;
    node.host_netns_cookie = NK_TRY(link::current_netns_cookie());
    node.upgrading = upgrade.pending() ? 1 : 0;
    if (getrandom(node.secret, sizeof(node.secret), 0) != sizeof(node.secret)) {
        return fail_errno(errno, "get random numbers");
    }
    undo.commit();
    Datapath datapath(std::move(programs), std::move(pins), std::make_unique<Upgrade>(std::move(upgrade)),
                      std::move(former_maps));
    datapath.share_out(0);
    NK_TRY(datapath.count_drops(NK_DROPS_OF_HOST));
    return datapath;
}

Result<void> Datapath::undo_open() {
    Result<void> undone = pins_.unpin_maps_except(former_maps_);
    if (upgrade_->has_copied()) {
        keep_first(undone, pins_.forget_copied());
    }
    return undone;
}

Result<void> Datapath::put_back_pins() {
    NK_TRY(pins_.make_directories());
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, programs_->base().obj) {
        const std::string name = bpf_map__name(map);
        if (!layout_version(name) || pins_.has_map(name)) {
            continue;
        }
        if (bpf_obj_pin(bpf_map__fd(map), pins_.map(name).c_str()) != 0) {
            return fail_errno(errno, "pin map {}", name);
        }
        log(LogLevel::notice, "map {} had lost its pin: pinned again", name);
    }
    return {};
}

bool Datapath::upgrading() const {
    return upgrade_->pending();
}

// The name of a link that has a program of a daemon before, if one has. (Those of sockets see no packet.)
Result<std::optional<std::string>> Datapath::link_of_former_program() const {
    for (const std::string& name : NK_TRY(pins_.link_names())) {
        if (!name.starts_with(kSocketPrefix) && !NK_TRY(programs_->has(NK_TRY(program_of_link(pins_.link(name)))))) {
            return name;
        }
    }
    return std::nullopt;
}

Result<void> Datapath::finish_upgrade() {
    nk_node& node = programs_->base().data_node->node;
    if (!upgrading() && node.marking != 0) {
        return {};
    }
    const auto former = NK_TRY(link_of_former_program());
    if (former && upgrading()) {
        return fail(ErrorKind::unavailable, "{} still has a program of the version before", *former);
    }
    if (former) {
        return {};
    }
    wait_for_running_programs();
    if (upgrading()) {
        NK_TRY(upgrade_->finish(programs_->base(), pins_));
        publish(node.upgrading, 0U);
    }
    publish(node.marking, 1U);
    return {};
}

Result<void> Datapath::configure(const NodeSettings& settings) {
    NK_TRY(check_bounds(settings));
    nk_node& node = programs_->base().data_node->node;
    const auto& maps = programs_->maps();
    const PrefixMaps non_masquerade(maps.non_masquerade4, maps.non_masquerade6, node.non_masquerade4_count,
                                    node.non_masquerade6_count, settings.non_masquerade);
    const PrefixMaps host(maps.host_prefixes4, maps.host_prefixes6, node.host_prefix4_count, node.host_prefix6_count,
                          settings.host);
    NK_TRY(non_masquerade.add());
    NK_TRY(host.add());
    NK_TRY(write_uplinks(bpf_map__fd(maps.uplinks), settings.uplinks));
    node.has_inner_bridge = std::ranges::any_of(
        settings.uplinks, [](const auto& uplink) { return (uplink.second & NK_UPLINK_INNER_BRIDGE) != 0; });
    std::ranges::copy(settings.host_device_mac.bytes, node.host_device_mac);
    publish(node.host_device, settings.host_device);
    write_networks(node.network4, node.network4_count, node.routed4_count, networks_of(settings, IpFamily::v4));
    write_networks(node.network6, node.network6_count, node.routed6_count, networks_of(settings, IpFamily::v6));
    write_mtus(node, settings.mtus);
    publish(node.suppressed6, settings.suppressed6 ? 1U : 0U);
    node.port_first = settings.port_first;
    node.port_last = settings.port_last;
    NK_TRY(frontends_.set_addresses(settings.own_addresses));
    NK_TRY(non_masquerade.remove_others());
    NK_TRY(host.remove_others());
    // Whoever configures has looked at the host anew: what flows remember of routes may be wrong.
    publish(node.route_generation, node.route_generation + 1);
    return {};
}

Result<microseconds> Datapath::attach_endpoint(const std::string& host_name, std::uint32_t ifindex,
                                               link::DeviceMode mode) {
    const bool netkit = link::is_netkit(mode);
    const netkitd_bpf* skeleton = NK_TRY(programs_->need(part_of(mode)));
    bpf_program* program = netkit ? skeleton->progs.netkit_peer : skeleton->progs.veth_ingress;
    const BpfLog log;
    const auto took = pin_or_update(pins_.link(host_name), *program, [&] {
        const int index = static_cast<int>(ifindex);
        return netkit ? bpf_program__attach_netkit(program, index, nullptr)
                      : bpf_program__attach_tcx(program, index, nullptr);
    });
    return with_context(took, host_name);
}

Result<void> Datapath::detach_endpoint(const std::string& host_name) {
    return pins_.unpin_link(host_name);
}

Result<std::vector<std::string>> Datapath::attached_endpoints() const {
    std::vector<std::string> names = NK_TRY(pins_.link_names());
    std::erase_if(names, [](const std::string& name) {
        return name.starts_with(kUplinkPrefix) || name.starts_with(kSocketPrefix) || name == kHostDevicePin ||
               name == kLoopbackPin;
    });
    return names;
}

int Datapath::endpoint_map(IpFamily family) const {
    return bpf_map__fd(family == IpFamily::v4 ? programs_->maps().endpoints4 : programs_->maps().endpoints6);
}

Result<void> Datapath::put_endpoint(const EndpointEntry& endpoint) {
    nk_endpoint value = to_wire(endpoint);
    const nk_addr key = to_nk_addr(endpoint.address);
    // What the programs say of it: its connections go on.
    nk_endpoint known{};
    if (bpf_map_lookup_elem(endpoint_map(endpoint.address.family()), &key, &known) == 0 && known.id == value.id) {
        value.flags |= known.flags & NK_ENDPOINT_ASKED_INSIDE;
    }
    if (bpf_map_update_elem(endpoint_map(endpoint.address.family()), &key, &value, BPF_ANY) != 0) {
        return fail_errno(errno, "add {} to the endpoint map", endpoint.address.to_string());
    }
    return namespaces_.put(endpoint.address, endpoint.netns_cookie);
}

Result<void> Datapath::put_frontends(std::span<const Frontend> frontends) {
    Result<void> put = frontends_.put(frontends);
    end_their_flows();
    return put;
}

void Datapath::note_reached_from_host(Result<void> reached) {
    if (reached_from_host_ && !reached) {
        log(LogLevel::warning, "published ports are not reached from this host itself: {}", reached.error().message());
    }
    reached_from_host_ = std::move(reached);
}

void Datapath::follow_frontends() {
    if (follows_frontends_) {
        note_reached_from_host(both(socket_hooks_.follow(!frontends_.empty()),
                                    loopback_program_.follow(frontends_.any_without_connection())));
    }
}

void Datapath::let_host_reach_containers() {
    follows_frontends_ = true;
    note_reached_from_host(
        both(socket_hooks_.put(!frontends_.empty()), loopback_program_.put(frontends_.any_without_connection())));
}

Result<void> Datapath::remove_frontends(std::span<const Frontend> frontends) {
    Result<void> removed = frontends_.remove(frontends);
    end_their_flows();
    return removed;
}

Result<void> Datapath::end_frontends(std::span<const Frontend> frontends) {
    Result<void> ended = frontends_.end(frontends);
    end_their_flows();
    return ended;
}

// None has begun there.
Result<void> Datapath::end_holds() {
    Result<void> ended = frontends_.end_holds();
    follow_frontends();
    return ended;
}

// All look anew where they lead, and whether their port is not another's by now.
void Datapath::end_their_flows() {
    follow_frontends();
    nk_node& node = programs_->base().data_node->node;
    publish(node.route_generation, node.route_generation + 1);
}

Result<void> Datapath::remove_endpoint(const IpAddr& address) {
    const nk_addr key = to_nk_addr(address);
    if (bpf_map_delete_elem(endpoint_map(address.family()), &key) != 0 && errno != ENOENT) {
        return fail_errno(errno, "remove {} from the endpoint map", address.to_string());
    }
    return namespaces_.remove(address);
}

Result<std::vector<EndpointEntry>> Datapath::endpoints() const {
    std::vector<EndpointEntry> endpoints;
    for (const IpFamily family : {IpFamily::v4, IpFamily::v6}) {
        const int map = endpoint_map(family);
        nk_addr key{};
        for (int error = bpf_map_get_next_key(map, nullptr, &key); error == 0;
             error = bpf_map_get_next_key(map, &key, &key)) {
            nk_endpoint value{};
            if (bpf_map_lookup_elem(map, &key, &value) == 0) {
                endpoints.push_back(from_wire(to_ip_addr(key, family), value));
            }
        }
    }
    return endpoints;
}

Result<void> Datapath::count_drops(std::uint32_t host_ifindex) {
    const nk_endpoint_drops none{};
    if (bpf_map_update_elem(bpf_map__fd(programs_->maps().endpoint_drops), &host_ifindex, &none, BPF_NOEXIST) != 0 &&
        errno != EEXIST) {
        return fail_errno(errno, "count the drops of device {}", host_ifindex);
    }
    return {};
}

Result<void> Datapath::forget_drops(std::uint32_t host_ifindex) {
    if (bpf_map_delete_elem(bpf_map__fd(programs_->maps().endpoint_drops), &host_ifindex) != 0 && errno != ENOENT) {
        return fail_errno(errno, "forget the drops of device {}", host_ifindex);
    }
    return {};
}

Result<std::vector<std::uint32_t>> Datapath::devices_with_drops() const {
    std::vector<std::uint32_t> devices = numbers_in(bpf_map__fd(programs_->maps().endpoint_drops));
    std::erase(devices, NK_DROPS_OF_HOST);
    return devices;
}

Result<std::vector<EndpointDrop>> Datapath::endpoint_drops(std::uint32_t host_ifindex) const {
#define NK_ENDPOINT_DROP(symbol, name, text) EndpointDrop{symbol, name, text, 0, {}, 0},
    std::vector<EndpointDrop> drops{NK_DROP_REASONS(NK_ENDPOINT_DROP)};
#undef NK_ENDPOINT_DROP
    nk_endpoint_drops value{};
    if (bpf_map_lookup_elem(bpf_map__fd(programs_->maps().endpoint_drops), &host_ifindex, &value) != 0) {
        return errno == ENOENT ? Result<std::vector<EndpointDrop>>({})
                               : fail_errno(errno, "read the drops of device {}", host_ifindex);
    }
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    for (EndpointDrop& drop : drops) {
        drop.packets = std::span(value.packets)[drop.reason];
        drop.age = std::max(now - std::chrono::nanoseconds(std::span(value.last_ns)[drop.reason]),
                            std::chrono::nanoseconds(0));
        drop.device_ifindex = drop.reason == NK_DROP_NO_UPLINK ? value.no_uplink_ifindex : 0;
    }
    std::erase_if(drops, [](const EndpointDrop& drop) { return drop.packets == 0; });
    return drops;
}

Result<void> Datapath::attach_host_device(std::uint32_t ifindex) {
    bpf_program* program = programs_->base().progs.host_egress;
    const BpfLog log;
    NK_TRY_CONTEXT(std::string(link::kHostDeviceName), pin_or_update(pins_.link(kHostDevicePin), *program, [&] {
                       return bpf_program__attach_tcx(program, static_cast<int>(ifindex), nullptr);
                   }));
    return {};
}

Result<void> Datapath::attach_uplink(const std::string& name, std::uint32_t ifindex, UplinkKind kind) {
    const netkitd_bpf* skeleton = NK_TRY(programs_->need(part_of(kind)));
    const BpfLog log;
    const auto attach = [&](bpf_program* program, std::string_view direction) -> Result<void> {
        const auto took = pin_or_update(pins_.link(uplink_pin(ifindex, direction)), *program, [&] {
            return bpf_program__attach_tcx(program, static_cast<int>(ifindex), nullptr);
        });
        if (!took) {
            return std::unexpected(Error(took.error()).context(formatted("uplink {}", name)));
        }
        return {};
    };
    // The safety net first: nothing is translated before it is there.
    const auto [ingress, egress] = uplink_programs(*skeleton, kind);
    Result<void> attached = attach(egress, "egress").and_then([&] { return attach(ingress, "ingress"); });
    const auto is_pinned = [&](std::string_view direction) { return pins_.has_link(uplink_pin(ifindex, direction)); };
    // Both or none: one alone would look like a former daemon's programs.
    if (!attached && !(is_pinned("egress") && is_pinned("ingress"))) {
        keep_first(attached, detach_uplink(ifindex));
    }
    return attached;
}

Result<void> Datapath::detach_uplink(std::uint32_t ifindex) {
    NK_TRY(pins_.unpin_link(uplink_pin(ifindex, "ingress")));
    return pins_.unpin_link(uplink_pin(ifindex, "egress"));
}

Result<UplinkPrograms> Datapath::look_at_uplink(const std::string& name, std::uint32_t ifindex, UplinkKind kind) const {
    const auto [ingress, egress] = uplink_programs(*NK_TRY(programs_->need(part_of(kind))), kind);
    UplinkPrograms result{.complete = true, .foreign = {}};
    for (const auto& [type, direction, own] :
         {std::tuple(BPF_TCX_INGRESS, "ingress", ingress), std::tuple(BPF_TCX_EGRESS, "egress", egress)}) {
        const auto programs = NK_TRY_CONTEXT(formatted("uplink {}", name), attached_programs(ifindex, type));
        const std::uint32_t own_id = NK_TRY(id_of(*own));
        const auto own_place = std::ranges::find(programs, own_id, &AttachedProgram::id);
        result.complete = result.complete && own_place != programs.end();
        for (auto program = programs.begin(); program != programs.end(); ++program) {
            if (program != own_place) {
                result.foreign.push_back({.uplink = name,
                                          .direction = direction,
                                          .name = program->name,
                                          .id = program->id,
                                          .before = program < own_place});
            }
        }
    }
    return result;
}

Result<std::vector<std::uint32_t>> Datapath::attached_uplinks() const {
    // Both programs are pinned, or one of them, if a daemon was killed in between.
    std::set<std::uint32_t> result;
    for (const std::string& name : NK_TRY(pins_.link_names())) {
        if (name.starts_with(kUplinkPrefix)) {
            result.insert(NK_TRY(parse_uplink_pin(name)));
        }
    }
    return std::vector(result.begin(), result.end());
}

Result<std::vector<Counter>> Datapath::counters() const {
    std::array<nk_counter_value, NK_COUNTER_ROOM> counted{};
    for (std::uint32_t number = 0; number < counted.size(); ++number) {
        for (const nk_counter_value& value :
             NK_TRY(read_per_cpu<nk_counter_value>(programs_->maps().counters, number))) {
            counted.at(number).packets += value.packets;
            counted.at(number).bytes += value.bytes;
        }
    }
    std::vector<Counter> result;
    const auto add = [&](std::uint32_t number, std::string name, std::string text) {
        const auto [packets, bytes] = std::exchange(counted.at(number), {});
        result.push_back({std::move(name), std::move(text), number < NK_EVENT_FIRST, packets, bytes});
    };
#define NK_KNOWN_COUNTER(symbol, name, text) add(symbol, name, text);
    NK_DROP_REASONS(NK_KNOWN_COUNTER)
    NK_EVENTS(NK_KNOWN_COUNTER)
#undef NK_KNOWN_COUNTER
    for (std::uint32_t number = 0; number < counted.size(); ++number) {
        if (counted.at(number).packets > 0) {
            add(number, formatted("unknown-{}", number), "counted by a newer version of netkitd");
        }
    }
    return result;
}

Result<std::uint64_t> Datapath::counted(nk_counter counter) const {
    std::uint64_t packets = 0;
    for (const nk_counter_value& value : NK_TRY(read_per_cpu<nk_counter_value>(programs_->maps().counters, counter))) {
        packets += value.packets;
    }
    return packets;
}

Result<std::array<std::uint64_t, NK_PORT_TRIES_BUCKETS>> Datapath::port_tries() const {
    std::array<std::uint64_t, NK_PORT_TRIES_BUCKETS> result{};
    for (std::uint32_t bucket = 0; bucket < result.size(); ++bucket) {
        for (const std::uint64_t count : NK_TRY(read_per_cpu<std::uint64_t>(programs_->maps().port_tries, bucket))) {
            result.at(bucket) += count;
        }
    }
    return result;
}

Datapath::FlowMap Datapath::flow_map(IpFamily family) const {
    const bpf_map* const map = family == IpFamily::v4 ? programs_->maps().flows4 : programs_->maps().flows6;
    return {.fd = bpf_map__fd(map), .capacity = bpf_map__max_entries(map)};
}

Result<nk_map_counts> Datapath::map_counts() const {
    nk_map_counts counts{};
    LIBBPF_OPTS(bpf_test_run_opts, run);
    run.ctx_in = &counts;  // and out (kernel/bpf/syscall.c: bpf_prog_test_run_syscall)
    run.ctx_size_in = sizeof(counts);
    if (const int error = bpf_prog_test_run_opts(bpf_program__fd(programs_->base().progs.map_counts), &run);
        error != 0) {
        return fail_errno(-error, "count the flows");
    }
    return counts;
}

Result<void> Datapath::remove_flows(std::span<nk_flow_removal> removals) const {
    return run_program(bpf_program__fd(programs_->base().progs.remove_flows), removals, NK_FLOW_REMOVALS,
                       "remove flows");
}

void Datapath::share_out(std::size_t endpoints) const {
    nk_node& node = programs_->base().data_node->node;
    const FlowShares v4 = datapath::flow_shares(flow_map(IpFamily::v4).capacity, endpoints);
    const FlowShares v6 = datapath::flow_shares(flow_map(IpFamily::v6).capacity, endpoints);
    publish(node.flow_share4, v4.share);
    publish(node.flow_share6, v6.share);
    publish(node.flow_common4, v4.common);
    publish(node.flow_common6, v6.common);
    publish(node.neighbour_interval_ms,
            static_cast<std::uint32_t>(NK_NEIGHBOUR_INTERVAL_MS * std::max<std::size_t>(endpoints, 1)));
}

FlowShares Datapath::flow_shares(IpFamily family) const {
    const nk_node& node = programs_->base().data_node->node;
    return family == IpFamily::v4 ? FlowShares{.share = node.flow_share4, .common = node.flow_common4}
                                  : FlowShares{.share = node.flow_share6, .common = node.flow_common6};
}

Result<std::vector<Datapath::FlowCount>> Datapath::flow_counts() const {
    const int map = bpf_map__fd(programs_->maps().flow_counts);
    std::vector<FlowCount> counts;
    for (const std::uint32_t endpoint_id : numbers_in(map)) {
        nk_flow_counts flows{};
        if (bpf_map_lookup_elem(map, &endpoint_id, &flows) == 0) {
            counts.push_back({.endpoint_id = endpoint_id, .flows = flows});
        }
    }
    return counts;
}

Result<void> Datapath::forget_flow_count(std::uint32_t endpoint_id) const {
    if (bpf_map_delete_elem(bpf_map__fd(programs_->maps().flow_counts), &endpoint_id) != 0 && errno != ENOENT) {
        return fail_errno(errno, "forget the count of endpoint {}'s flows", endpoint_id);
    }
    return {};
}

Result<void> Datapath::ask_owner_sockets(std::span<nk_socket_question> questions) const {
    return run_program(bpf_program__fd(programs_->base().progs.owner_sockets), questions, NK_SOCKET_QUESTIONS,
                       "ask for the sockets of connections");
}

std::uint32_t Datapath::endpoint_capacity() const {
    return bpf_map__max_entries(programs_->maps().endpoints4);
}

}  // namespace netkitd::datapath
