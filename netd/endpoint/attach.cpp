#include "endpoint/attach.h"

#include <algorithm>

#include "base/undo.h"
#include "endpoint/port_claims.h"

namespace netkitd {
namespace {

class AttachTransaction {
public:
    AttachTransaction(Plumbing& plumbing, Store& store, ContainerNetns& netns, const AttachPlan& plan,
                      const Config& config)
        : plumbing_(plumbing), store_(store), netns_(netns), plan_(plan), config_(config), record_(plan.record) {}

    Result<AttachOutcome> run() {
        NK_TRY(create_pair());
        NK_TRY(configure_container());
        NK_TRY(attach_program());
        NK_TRY(publish_entries());
        NK_TRY(configure_host());
        NK_TRY(await_container());
        NK_TRY(publish_ports());
        NK_TRY_CONTEXT("record the endpoint", store_.put_endpoint(record_));
        undo_.commit();
        return std::move(outcome_);
    }

private:
    Result<void> create_pair() {
        changes_ = NK_TRY(plumbing_.changes_for(netns_));
        const link::PairSpec spec{
            .mode = record_.device_mode,
            .host_name = record_.host_name,
            .host_alias = alias_text(record_.members.front().container_id, record_.network, changes_),
            .peer_netns = netns_.fd,
            .peer_name = record_.interface_name,
            .mtu = record_.mtu,
            .sizes = plan_.sizes};
        const link::Pair pair = NK_TRY(plumbing_.create_pair(netns_, spec));
        undo_.push("remove the pair", [this, index = pair.host_ifindex] { return plumbing_.remove_pair(index); });
        record_.host_ifindex = pair.host_ifindex;
        record_.host_mac = pair.host_mac;
        record_.peer_mac = pair.peer_mac;
        peer_ifindex_ = pair.peer_ifindex;
        outcome_.notes = pair.left_out;
        return {};
    }

    Result<void> configure_container() {
        if (changes_.any()) {
            undo_.push("restore the container's settings", [this] { return plumbing_.undo_changes(netns_, changes_); });
        }
        if (changes_.local_ports) {
            const std::string range = formatted("{} {}", plan_.local_ports.first, plan_.local_ports.last);
            NK_TRY_CONTEXT("set the container's local ports", plumbing_.set_local_ports(netns_, range));
        }
        return with_context(plumbing_.configure_container_end(netns_, container_end()),
                            formatted("configure {} in the container", record_.interface_name));
    }

    [[nodiscard]] link::ContainerEnd container_end() const {
        return {.ifindex = peer_ifindex_,
                .ipv4 = record_.ipv4,
                .gateway4 = plan_.network.gateway4,
                .ipv6 = record_.ipv6,
                .gateway6 = record_.ipv6 ? plan_.network.gateway6 : std::nullopt};
    }

    Result<void> attach_program() {
        outcome_.kernel_wait =
            NK_TRY_CONTEXT("attach the program",
                           plumbing_.attach_program(record_.host_name, record_.host_ifindex, record_.device_mode));
        undo_.push("detach the program", [this] { return plumbing_.detach_program(record_.host_name); });
        return {};
    }

    Result<void> publish_entries() {
        // Of a device that is gone, which had this number.
        NK_TRY(plumbing_.forget_drops(record_.host_ifindex));
        NK_TRY(plumbing_.count_drops(record_.host_ifindex));
        undo_.push("forget its drops", [this] { return plumbing_.forget_drops(record_.host_ifindex); });
        for (const datapath::EndpointEntry& entry : datapath_entries(record_)) {
            NK_TRY(plumbing_.put_entry(entry));
            undo_.push("remove the endpoint entry", [this, address = entry.address] { return take_back(address); });
        }
        return {};
    }

    Result<void> take_back(const IpAddr& address) {
        if (plan_.predecessor) {
            for (const datapath::EndpointEntry& former : datapath_entries(*plan_.predecessor)) {
                if (former.address == address) {
                    return plumbing_.put_entry(former);
                }
            }
        }
        return plumbing_.remove_entry(address);
    }

    [[nodiscard]] std::vector<NarrowRoute> routes_of(const EndpointRecord& record) const {
        return narrow_routes(record, plan_.network, plan_.host_mtu);
    }

    Result<void> configure_host() {
        for (const NarrowRoute& route : routes_of(record_)) {
            NK_TRY(plumbing_.add_host_route(route.container, route.mtu, route.gateway));
            undo_.push("take back its route", [this, address = route.container] { return take_back_route(address); });
        }
        outcome_.record = record_;
        return with_context(plumbing_.set_host_end_up(record_.host_ifindex), formatted("set {} up", record_.host_name));
    }

    Result<void> take_back_route(const IpAddr& address) {
        if (plan_.predecessor) {
            for (const NarrowRoute& former : routes_of(*plan_.predecessor)) {
                if (former.container == address) {
                    return plumbing_.add_host_route(former.container, former.mtu, former.gateway);
                }
            }
        }
        return plumbing_.remove_host_routes(address);
    }

    // Last: whoever comes reaches a container that is there. What the former one published by the same port is this
    // one's from then on.
    Result<void> publish_ports() {
        const auto frontends = frontends_of(record_);
        if (frontends.empty()) {
            return {};
        }
        undo_.push("take back its ports", [this, frontends] { return take_back_ports(frontends); });
        NK_TRY(plumbing_.put_frontends(frontends));
        // A program may have bound one since that was looked at; from now on none does.
        return with_context(check_programs(record_.published, config_, plumbing_), "io.netkitd.publish");
    }

    Result<void> take_back_ports(const std::vector<datapath::Frontend>& frontends) {
        Result<void> result = plumbing_.remove_frontends(frontends);
        if (plan_.predecessor) {
            keep_first(result, plumbing_.put_frontends(frontends_of(*plan_.predecessor)));
        }
        return result;
    }

    // Who is told that it is networked may send at once.
    Result<void> await_container() {
        return with_context(plumbing_.await_container_end(netns_, container_end()),
                            formatted("wait for {} in the container", record_.interface_name));
    }

    Plumbing& plumbing_;
    Store& store_;
    ContainerNetns& netns_;
    const AttachPlan& plan_;
    const Config& config_;
    EndpointRecord record_;
    NetnsChanges changes_;
    std::uint32_t peer_ifindex_ = 0;
    AttachOutcome outcome_;
    UndoStack undo_;  // last: it undoes while the others still live
};

}  // namespace

Result<AttachOutcome> run_attach(Plumbing& plumbing, Store& store, ContainerNetns& netns, const AttachPlan& plan,
                                 const Config& config) {
    return AttachTransaction(plumbing, store, netns, plan, config).run();
}

}  // namespace netkitd
