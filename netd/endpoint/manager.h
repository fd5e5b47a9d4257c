// The endpoints of this node: who is attached, what each holds, and when it is given back.
//
// An endpoint belongs to a netns, known by its cookie; containers that share the netns (a pod) are its members. It is
// made by attach() and ends, whichever comes first, by detach() of its last member, by stopped() of it if nobody else
// lives in the netns, or by the kernel removing its pair with the netns (device_removed). A member's process that exits
// (process_exited) only marks the endpoint as dying: the netns may outlive the process, and the address is not free
// before the pair is gone.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "endpoint/address_pools.h"
#include "endpoint/attach_request.h"
#include "endpoint/endpoint_settings.h"
#include "endpoint/endpoint_table.h"
#include "endpoint/endpoint_view.h"
#include "endpoint/homes.h"
#include "endpoint/member_processes.h"
#include "endpoint/plumbing.h"
#include "endpoint/process_watch.h"
#include "endpoint/sizes.h"
#include "store/store.h"

namespace netkitd {

class EndpointManager {
public:
    // Borrows all three for its life.
    EndpointManager(EndpointSettings settings, Store& store, Plumbing& plumbing, ProcessWatch& watch);

    // Takes up, at start, the endpoints whose pair is there (their programs are replaced in place) and gives back those
    // whose pair is gone. One that the kernel refuses to take up is logged, and left for resync() to repair. An error
    // is one of the configuration or the database.
    [[nodiscard]] Result<void> restore();
    // Before restore(), with a database that was lost: records what the kernel still has; how many endpoints.
    [[nodiscard]] Result<std::size_t> adopt();

    [[nodiscard]] Result<AttachReply> attach(AttachRequest request);
    // Of a container that is not known: done. That is how poststop is repeated.
    [[nodiscard]] Result<void> detach(const std::string& container_id);
    // Its runtime says that it is over (poststop). The endpoint ends with its last member, unless other processes live
    // in its netns: of a pod whose other containers have no annotation, nobody is cut off. Then the kernel says when it
    // ends.
    [[nodiscard]] Result<void> stopped(const std::string& container_id);
    // The error is about what could not be given back with it; resync() tries again.
    [[nodiscard]] Result<void> device_removed(std::uint32_t host_ifindex);
    void process_exited(const std::string& container_id);
    // Makes kernel, pins and database agree: what is not there any more is given back, what is missing of an endpoint
    // (a route deleted by hand, say) is put back, and pairs, pins, entries and records of nobody are removed. At start,
    // after lost notifications, when something was seen to be missing, and now and then.
    [[nodiscard]] Result<void> resync();

    // Refused when an endpoint is in a network that the new configuration lacks or has with another prefix.
    [[nodiscard]] Result<void> reconfigure(const Config& config);
    void set_uplink_mtu(std::uint32_t mtu) { settings_.uplink_mtu = mtu; }
    // Of netkitd0. What that means for running containers, the next resync() sees to.
    void set_host_mtu(std::uint32_t mtu) { settings_.host_mtu = mtu; }
    [[nodiscard]] std::uint32_t host_mtu() const { return settings_.host_mtu; }
    // What of the networks' prefixes is the host's: no container gets an address of it.
    void set_host_prefixes(const std::vector<IpPrefix>& prefixes) { pools_.set_host_prefixes(prefixes); }
    void set_no_ipv6(std::string reason) { settings_.no_ipv6 = std::move(reason); }
    // Of both ends of every pair. Running containers get them from the next resync().
    void set_sizes(const link::SegmentSizes& sizes) { settings_.sizes = sizes; }
    [[nodiscard]] const link::SegmentSizes& sizes() const { return settings_.sizes; }

    [[nodiscard]] const Config& config() const { return settings_.config; }
    [[nodiscard]] const EndpointTable::ById& endpoints() const { return endpoints_.all(); }
    [[nodiscard]] bool has_device(std::uint32_t host_ifindex) const;
    // Or had, and the kernel's notice that it is gone (device_removed) has not come yet.
    [[nodiscard]] bool has_or_had_device(std::uint32_t host_ifindex) const;
    [[nodiscard]] const Endpoint* find_container(const std::string& container_id) const;
    // Containers that run, but whose pair somebody deleted, with its name. Only they can say what to do about it.
    [[nodiscard]] const std::map<std::string, std::string>& cut_off() const { return processes_.cut_off(); }
    // Running containers whose end of the pair did not get the sizes that it should have, and why.
    [[nodiscard]] const std::map<std::string, std::string>& other_sizes() const { return pair_sizes_.refused(); }
    // How many have ended since the start, of those from before it too.
    [[nodiscard]] std::uint64_t ended() const { return ended_; }
    // Of a network of the configuration; nothing where it has no prefix of that family.
    [[nodiscard]] PoolUse pool_use(const std::string& network, IpFamily family = IpFamily::v4) const;

private:
    [[nodiscard]] Result<AttachReply> attach_new(AttachRequest request, ContainerNetns netns);
    [[nodiscard]] Result<AttachReply> join(Endpoint& endpoint, AttachRequest request);
    // A container that has another endpoint now.
    void leave(std::uint32_t former_id, const std::string& container_id);

    // restore.cpp
    [[nodiscard]] Result<std::vector<EndpointRecord>> recorded();
    [[nodiscard]] Result<void> give_back_record(const EndpointRecord& record);
    [[nodiscard]] Result<void> give_back_or_keep(const EndpointRecord& record);
    [[nodiscard]] Result<void> reserve_addresses(const EndpointRecord& record);
    [[nodiscard]] Result<void> take_up(const EndpointRecord& record);

    // resync.cpp
    struct Found;
    [[nodiscard]] Result<Found> look_at_kernel();
    [[nodiscard]] Result<void> give_back_vanished(const std::vector<link::Device>& devices);
    [[nodiscard]] Result<void> repair(const EndpointRecord& record, const Found& found);
    [[nodiscard]] Result<void> repair_routes(const EndpointRecord& record, const Found& found);
    // All to that address, by the one of `wanted` that leads there, if one does.
    [[nodiscard]] Result<void> replace_routes(const IpAddr& address, const std::vector<NarrowRoute>& wanted);
    [[nodiscard]] Result<void> remove_strays(const Found& found);
    [[nodiscard]] Result<void> forget_records();

    // removal.cpp
    [[nodiscard]] Result<void> drop_member(std::uint32_t endpoint_id, const std::string& container_id);
    [[nodiscard]] Result<void> remove(std::uint32_t endpoint_id);
    void undo_changes(const EndpointRecord& record, const NetnsChanges& changes);

    EndpointSettings settings_;
    Store& store_;
    Plumbing& plumbing_;
    AddressPools pools_;
    Homes homes_;
    MemberProcesses processes_;
    PairSizes pair_sizes_;
    EndpointTable endpoints_;
    std::uint64_t ended_ = 0;
    std::set<std::uint32_t> removed_devices_;  // that the kernel has not announced as removed yet
    std::set<std::uint32_t> to_take_up_;       // endpoints that the kernel refused to take up at start
    // Endpoints that are gone but not from the database (a full disk), by id, with the addresses that they gave back.
    std::map<std::uint32_t, std::vector<IpAddr>> to_forget_;
};

}  // namespace netkitd
