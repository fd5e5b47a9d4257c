// Everything a running node consists of, put together in the order in which the parts need each other.
//
// It is what requests, status and kernel notifications work on; the event loop and the socket are the daemon's.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "daemon/options.h"
#include "daemon/recent_errors.h"
#include "daemon/refusals.h"
#include "datapath/datapath.h"
#include "endpoint/manager.h"
#include "endpoint/plumbing.h"
#include "nat/flow_sweeper.h"
#include "nat/flows.h"
#include "netlink/socket.h"
#include "node/node_network.h"
#include "store/store.h"

namespace netkitd {

// The kind of device this node makes, and why.
struct DeviceModeDecision {
    DeviceModes modes;
    std::string configured;  // as in the configuration: "auto", "netkit", …
    std::string reason;      // empty, or why it is not the first choice
};
// Refused when the configuration insists on what the kernel does not have.
[[nodiscard]] Result<DeviceModeDecision> decide_device_mode(const Config& config);

class Node {
public:
    // Loads the datapath, syncs the node's network, takes up the endpoints that are there. Borrows the watch.
    // `before_changes` is called once nothing that the node looks at refuses the start, and may refuse it too: until
    // then nothing is changed.
    [[nodiscard]] static Result<std::unique_ptr<Node>> start(const Options& options, Config config, ProcessWatch& watch,
                                                             const std::function<Result<void>()>& before_changes);

    // Follows the kernel: uplinks, addresses, routes.
    void follow_network();
    // Looks at everything: what is missing is put back, what is gone or belongs to nobody is given back.
    void resync();
    // Whether the last looks left nothing that could not be mended; what is left is among errors().
    [[nodiscard]] bool is_whole() const {
        return network_is_followed_ && network_.uplink_failure() && endpoints_agree_ && !datapath_.upgrading();
    }
    // Writes it again where it was deleted.
    void keep_database();
    void device_removed(std::uint32_t ifindex);
    // A step of the sweep; how long to wait before the next one.
    [[nodiscard]] std::chrono::milliseconds sweep_flows();
    // A new configuration; the old one stays in force when it is refused.
    [[nodiscard]] Result<void> reconfigure(Config config);

    [[nodiscard]] EndpointManager& endpoints() { return *manager_; }
    [[nodiscard]] const EndpointManager& endpoints() const { return *manager_; }
    [[nodiscard]] const datapath::Datapath& datapath() const { return datapath_; }
    [[nodiscard]] nat::FlowTable flows() const { return nat::FlowTable(datapath_); }
    [[nodiscard]] const NodeNetwork& network() const { return network_; }
    [[nodiscard]] Store& store() { return store_; }
    [[nodiscard]] RecentErrors& errors() { return errors_; }
    [[nodiscard]] const RecentErrors& errors() const { return errors_; }
    [[nodiscard]] const DeviceModeDecision& device_mode() const { return device_mode_; }
    [[nodiscard]] nat::FlowSweeper& sweeper() { return sweeper_; }
    [[nodiscard]] std::chrono::system_clock::time_point started() const { return started_; }

private:
    [[nodiscard]] Result<void> put_recorded_frontends();
    [[nodiscard]] Result<void> restore_endpoints();
    void resync_endpoints();
    [[nodiscard]] std::optional<std::uint32_t> netns_id_of(std::uint32_t endpoint_id);
    void finish_upgrade();
    [[nodiscard]] Result<void> sync_at_start(const Config& config);
    void note_followed(const Result<void>& followed);
    void settle_anew();
    // Flows keep the address that they began with for as long as the host has it.
    void end_flows_of_former_addresses(Result<std::vector<IpAddr>> own);
    [[nodiscard]] Result<void> replace_own_addresses(std::vector<IpAddr> own);
    void end_flows_outside_pool();

    Node(link::Netlink host, Store store, datapath::Datapath datapath, DeviceModeDecision device_mode);

    link::Netlink host_;
    Store store_;
    datapath::Datapath datapath_;
    DeviceModeDecision device_mode_;
    NodeNetwork network_;
    KernelPlumbing plumbing_;
    Config wanted_;  // as it was read; what is in force of it, on this host, the manager has
    std::unique_ptr<EndpointManager> manager_;
    RecentErrors errors_;
    bool network_is_followed_ = true;
    bool endpoints_agree_ = true;
    nat::FlowSweeper sweeper_;
    RefusalLog refusals_;
    std::optional<std::vector<IpAddr>> own_addresses_;  // as of the last look
    std::chrono::system_clock::time_point started_ = std::chrono::system_clock::now();
};

}  // namespace netkitd
