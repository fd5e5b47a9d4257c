#include "endpoint/attach.h"

#include <algorithm>

#include "base/undo.h"

namespace netkitd {
namespace {

constexpr std::string_view kAliasPrefix = "netkitd";

class AttachTransaction {
public:
    AttachTransaction(Plumbing& plumbing, Store& store, ContainerNetns& netns, const AttachPlan& plan)
        : plumbing_(plumbing), store_(store), netns_(netns), plan_(plan), record_(plan.record) {}

    Result<AttachOutcome> run() {
        NK_TRY(create_pair());
        NK_TRY(configure_container());
        NK_TRY(attach_program());
        NK_TRY(publish_entry());
        NK_TRY(configure_host());
        NK_TRY_CONTEXT("record the endpoint", store_.put_endpoint(record_));
        undo_.commit();
        return std::move(outcome_);
    }

private:
    Result<void> create_pair() {
        const link::PairSpec spec{.mode = record_.device_mode,
                                  .host_name = record_.host_name,
                                  .host_alias = std::format("{} {} network={}", kAliasPrefix,
                                                            record_.members.front().container_id, record_.network),
                                  .peer_netns = netns_.fd,
                                  .peer_name = record_.interface_name,
                                  .mtu = record_.mtu};
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
        const std::string range = std::format("{} {}", plan_.local_ports.first, plan_.local_ports.last);
        const std::string before =
            NK_TRY_CONTEXT("set the container's local ports", plumbing_.set_local_ports(netns_, range));
        undo_.push("restore the container's local ports", [this, before]() -> Result<void> {
            NK_TRY(plumbing_.set_local_ports(netns_, before));
            return {};
        });
        const bool needs_neighbour = record_.device_mode == link::DeviceMode::veth;
        const link::ContainerEnd end{.ifindex = peer_ifindex_,
                                     .ipv4 = record_.ipv4,
                                     .gateway4 = plan_.gateway4,
                                     .ipv6 = {},
                                     .gateway6 = {},
                                     .gateway_mac = needs_neighbour ? std::optional(record_.host_mac) : std::nullopt};
        return with_context(plumbing_.configure_container_end(netns_, end),
                            std::format("configure {} in the container", record_.interface_name));
    }

    Result<void> attach_program() {
        outcome_.kernel_wait =
            NK_TRY_CONTEXT("attach the program",
                           plumbing_.attach_program(record_.host_name, record_.host_ifindex, record_.device_mode));
        undo_.push("detach the program", [this] { return plumbing_.detach_program(record_.host_name); });
        return {};
    }

    Result<void> publish_entry() {
        const auto& predecessor = plan_.predecessor;
        const bool takes_over = predecessor && predecessor->ipv4 == record_.ipv4;
        NK_TRY(plumbing_.put_entry(datapath_entry(record_, plan_.network_index)));
        undo_.push("remove the endpoint entry", [this, takes_over] {
            return takes_over ? plumbing_.put_entry(datapath_entry(*plan_.predecessor, plan_.network_index))
                              : plumbing_.remove_entry(*record_.ipv4);
        });
        return {};
    }

    Result<void> configure_host() {
        if (plan_.predecessor && plan_.predecessor->ipv4 == record_.ipv4) {
            undo_.push("restore the predecessor's route", [this] {
                return plumbing_.configure_host_end(plan_.predecessor->host_name,
                                                    host_end(*plan_.predecessor, plan_.predecessor_gateway4));
            });
        }
        outcome_.record = record_;
        return with_context(plumbing_.configure_host_end(record_.host_name, host_end(record_, plan_.gateway4)),
                            std::format("configure {}", record_.host_name));
    }

    Plumbing& plumbing_;
    Store& store_;
    ContainerNetns& netns_;
    const AttachPlan& plan_;
    EndpointRecord record_;
    std::uint32_t peer_ifindex_ = 0;
    AttachOutcome outcome_;
    UndoStack undo_;  // last: it undoes while the others still live
};

}  // namespace

Result<AttachOutcome> run_attach(Plumbing& plumbing, Store& store, ContainerNetns& netns, const AttachPlan& plan) {
    return AttachTransaction(plumbing, store, netns, plan).run();
}

datapath::EndpointEntry datapath_entry(const EndpointRecord& record, std::uint32_t network_index) {
    return {.address = *record.ipv4,
            .id = record.id,
            .network = network_index,
            .host_ifindex = record.host_ifindex,
            .device_mode = record.device_mode,
            .peer_mac = record.peer_mac,
            .host_mac = record.host_mac};
}

link::HostEnd host_end(const EndpointRecord& record, const IpAddr& gateway4) {
    const bool needs_neighbour = record.device_mode == link::DeviceMode::veth;
    return {.ifindex = record.host_ifindex,
            .ipv4 = record.ipv4,
            .gateway4 = gateway4,
            .ipv6 = {},
            .gateway6 = {},
            .peer_mac = needs_neighbour ? std::optional(record.peer_mac) : std::nullopt};
}

}  // namespace netkitd
