#include "harness/node_test.h"

#include <unistd.h>

#include <sstream>

#include "netlink/netns.h"
#include "node/loopback_answers.h"

namespace netkitd::test {
namespace {

template <typename T>
std::unique_ptr<T> unwrap(Result<T> result) {
    if (!result) {
        throw std::runtime_error(result.error().message());
    }
    return std::make_unique<T>(std::move(*result));
}

void unwrap(const Result<void>& result) {
    if (!result) {
        throw std::runtime_error(result.error().message());
    }
}

}  // namespace

void NodeTest::SetUp() {
    HostTest::SetUp();
    if (IsSkipped()) {
        return;
    }
    config_.device_mode = *unwrap(link::netkit_supported()) ? link::DeviceMode::netkit : link::DeviceMode::veth;
    start();
}

void NodeTest::TearDown() {
    stop();
    HostTest::TearDown();
}

void NodeTest::stop() {
    running_.reset();
}

void NodeTest::start() {
    unwrap(try_start());
}

Result<void> NodeTest::try_start() {
    stop();
    Running node;
    node.store = unwrap(Store::open(scratch("state.db"), "boot-1"));
    node.host = unwrap(link::Netlink::open());
    node.datapath = unwrap(datapath::Datapath::open(bpffs(), config_.device_mode));
    node.network = std::make_unique<NodeNetwork>(*node.host, *node.datapath, *node.store);
    NK_TRY(node.network->sync(config_));
    node.kernel = std::make_unique<KernelPlumbing>(
        *node.host, *node.datapath,
        KernelPlumbing::OfNode{
            .reserve_ports = [&network = *node.network](
                                 std::set<std::uint16_t> ports) { return network.reserve_published(std::move(ports)); },
            .let_answers_in = [&store = *node.store](bool wanted) { return take_answers_of_loopback(store, wanted); }});
    node.failing = std::make_unique<FailingPlumbing>(*node.kernel);
    EndpointSettings settings{
        .config = config_,
        .modes = {.active = *config_.device_mode, .netkit_available = config_.device_mode == link::DeviceMode::netkit},
        .uplink_mtu = node.network->uplink_mtu(),
        .host_mtu = node.network->host_mtu(),
        .host_netns_cookie = *link::current_netns_cookie(),
        .no_ipv6 = node.network->no_ipv6(),
        .sizes = node.network->big_tcp().pair_sizes()};
    node.manager = std::make_unique<EndpointManager>(std::move(settings), *node.store, *node.failing, watch_);
    before_restore_(*node.failing);
    NK_TRY(node.manager->restore());
    NK_TRY(node.manager->resync());
    running_ = std::move(node);
    return {};
}

Result<AttachReply> NodeTest::attach(const NetworkNamespace& container, const std::string& id, AttachOptions options) {
    return manager().attach({.container_id = id,
                             .pid = getpid(),
                             .options = std::move(options),
                             .netns = UniqueFd(dup(container.fd())),
                             .pidfd = UniqueFd(dup(container.fd()))});
}

std::string NodeTest::snapshot(const NetworkNamespace& container) {
    std::istringstream gateways(
        node().run("ip -6 -o addr show dev netkitd0 | awk '{ sub(\"/.*\", \"\", $4); print $4 }'"));
    for (std::string gateway; gateways >> gateway;) {
        node().await_address(gateway);
    }
    std::ostringstream text;
    // Interface indexes differ from one attempt to the next.
    // The uplink's own IPv6 state, and whether a pair has its carrier, settle by themselves meanwhile.
    text << node().run(
                "ip -o link | sed 's/^[0-9]*: //; s/NO-CARRIER,//; s/ state [A-Z]* / /' | sort;"
                "ip -4 route show table all | sort; ip -4 neigh; sysctl net.ipv4.ip_local_reserved_ports")
         << node().run("ip -6 route show table all | grep -v 'dev up0' | sort; ip -6 neigh | grep -v 'dev up0' || true")
         << container.run("ip -o link; ip addr; ip -4 route show table all; ip -6 route show table all")
         << container.run("cat /proc/sys/net/ipv4/ip_local_port_range");
    const auto programs = unwrap(datapath().attached_endpoints());
    const auto entries = unwrap(datapath().endpoints());
    const auto records = unwrap(store().endpoints());
    for (const std::string& name : *programs) {
        text << "program " << name << '\n';
    }
    for (const datapath::EndpointEntry& entry : *entries) {
        text << "entry " << entry.address.to_string() << '\n';
    }
    for (const EndpointRecord& record : *records) {
        text << "record " << record.id << ' ' << record.host_name << '\n';
    }
    text << "addresses " << manager().pool_use("default").in_use << " and "
         << manager().pool_use("default", IpFamily::v6).in_use << ", endpoints " << manager().endpoints().size();
    return text.str();
}

}  // namespace netkitd::test
