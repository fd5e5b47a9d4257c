// What a new endpoint is going to be: checks what is asked for, and takes addresses and a home. Nothing of the kernel
// is changed yet (attach.h does that).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/ip_addr.h"
#include "base/result.h"
#include "base/undo.h"
#include "endpoint/address_pools.h"
#include "endpoint/attach.h"
#include "endpoint/attach_request.h"
#include "endpoint/endpoint_settings.h"
#include "endpoint/endpoint_table.h"
#include "endpoint/homes.h"
#include "endpoint/plumbing.h"
#include "store/store.h"

namespace netkitd {

class AttachPlanner {
public:
    // Borrows all for its life, the pools and homes for that of the undo stack too.
    AttachPlanner(const EndpointSettings& settings, Store& store, Plumbing& plumbing, const EndpointTable& endpoints,
                  AddressPools& pools, Homes& homes)
        : settings_(settings),
          store_(store),
          plumbing_(plumbing),
          endpoints_(endpoints),
          pools_(pools),
          homes_(homes) {}

    // `predecessor`: the container's endpoint in another netns, or null. `undo` gives back what was taken.
    [[nodiscard]] Result<AttachPlan> plan(const AttachRequest& request, ContainerNetns& netns,
                                          const Endpoint* predecessor, UndoStack& undo);

private:
    [[nodiscard]] Result<void> claim_ports(const std::vector<PublishedPort>& wanted, const Endpoint* predecessor,
                                           UndoStack& undo);
    [[nodiscard]] static Result<void> check_families(const EndpointRecord& record);
    [[nodiscard]] Result<void> check_interface_is_free(ContainerNetns& netns, const std::string& name);
    [[nodiscard]] Result<const NetworkConfig*> find_network(const std::string& name) const;
    [[nodiscard]] Result<AttachPlan> without_addresses(const AttachRequest& request, const NetworkConfig& network,
                                                       std::uint64_t netns_cookie);
    [[nodiscard]] std::uint32_t mtu_for(const AttachOptions& options, const NetworkConfig& network) const;
    [[nodiscard]] Result<link::DeviceMode> device_mode(const AttachOptions& options) const;
    [[nodiscard]] Result<std::string> free_host_name(const std::string& container_id);

    // Empty, or why this container gets no IPv6 address from a network that has some.
    [[nodiscard]] Result<std::string> obstacle_to_ipv6(ContainerNetns& netns, std::uint32_t mtu);
    [[nodiscard]] Result<void> take_addresses(AttachPlan& plan, const AttachOptions& options,
                                              const NetworkConfig& network, ContainerNetns& netns,
                                              const Endpoint* predecessor, UndoStack& undo);
    [[nodiscard]] std::uint32_t take_home(const std::string& container_id, UndoStack& undo);
    // The `wanted` address, or any; `undo` gives it back.
    [[nodiscard]] Result<IpAddr> take_address(const IpPrefix& prefix, const std::optional<IpAddr>& wanted,
                                              const Endpoint* predecessor, UndoStack& undo);

    const EndpointSettings& settings_;
    Store& store_;
    Plumbing& plumbing_;
    const EndpointTable& endpoints_;
    AddressPools& pools_;
    Homes& homes_;
};

}  // namespace netkitd
