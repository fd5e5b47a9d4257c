// Stands between the endpoint manager and the kernel and lets one chosen step fail.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "endpoint/plumbing.h"

namespace netkitd::test {

class FailingPlumbing final : public Plumbing {
public:
    explicit FailingPlumbing(Plumbing& kernel) : kernel_(kernel) {}

    // The step of that number (from 1) fails with EIO instead of being carried out; all others are the kernel's.
    void fail_step(int number) {
        countdown_ = number;
        armed_ = true;
        failed_.reset();
    }
    // Called before each step with its name.
    std::function<void(std::string_view)> before_step = [](std::string_view) {};

    // The name of the step that failed; empty when there were fewer steps.
    [[nodiscard]] const std::optional<std::string>& failed() const { return failed_; }

    Result<ContainerNetns> enter(int netns_fd) override {
        return step("enter", [&] { return kernel_.enter(netns_fd); });
    }
    Result<std::optional<link::Device>> find_container_device(ContainerNetns& netns, const std::string& name) override {
        return step("find_container_device", [&] { return kernel_.find_container_device(netns, name); });
    }
    Result<bool> container_takes_ipv6(ContainerNetns& netns) override {
        return step("container_takes_ipv6", [&] { return kernel_.container_takes_ipv6(netns); });
    }
    Result<std::vector<link::Device>> host_devices() override {
        return step("host_devices", [&] { return kernel_.host_devices(); });
    }
    Result<std::optional<link::Device>> find_host_device(const std::string& name) override {
        return step("find_host_device", [&] { return kernel_.find_host_device(name); });
    }
    Result<link::Pair> create_pair(ContainerNetns& netns, const link::PairSpec& spec) override {
        return step("create_pair", [&] { return kernel_.create_pair(netns, spec); });
    }
    Result<void> remove_pair(std::uint32_t host_ifindex) override {
        return step("remove_pair", [&] { return kernel_.remove_pair(host_ifindex); });
    }
    Result<NetnsChanges> changes_for(ContainerNetns& netns) override {
        return step("changes_for", [&] { return kernel_.changes_for(netns); });
    }
    Result<void> set_local_ports(ContainerNetns& netns, const std::string& range) override {
        return step("set_local_ports", [&] { return kernel_.set_local_ports(netns, range); });
    }
    Result<bool> peer_has_processes(std::uint32_t host_ifindex) override {
        return step("peer_has_processes", [&] { return kernel_.peer_has_processes(host_ifindex); });
    }
    Result<std::map<std::uint32_t, PeerIdentity>> identify_peers(
        const std::vector<std::uint32_t>& host_ifindexes) override {
        return step("identify_peers", [&] { return kernel_.identify_peers(host_ifindexes); });
    }
    Result<void> undo_changes(ContainerNetns& netns, const NetnsChanges& changes) override {
        return step("undo_changes", [&] { return kernel_.undo_changes(netns, changes); });
    }
    Result<void> undo_changes_in(int fd, std::uint64_t netns_cookie, const NetnsChanges& changes) override {
        return step("undo_changes_in", [&] { return kernel_.undo_changes_in(fd, netns_cookie, changes); });
    }
    Result<void> configure_container_end(ContainerNetns& netns, const link::ContainerEnd& end) override {
        return step("configure_container_end", [&] { return kernel_.configure_container_end(netns, end); });
    }
    Result<std::chrono::microseconds> attach_program(const std::string& host_name, std::uint32_t ifindex,
                                                     link::DeviceMode mode) override {
        return step("attach_program", [&] { return kernel_.attach_program(host_name, ifindex, mode); });
    }
    Result<void> detach_program(const std::string& host_name) override {
        return step("detach_program", [&] { return kernel_.detach_program(host_name); });
    }
    Result<std::vector<std::string>> attached_programs() override {
        return step("attached_programs", [&] { return kernel_.attached_programs(); });
    }
    Result<void> put_entry(const datapath::EndpointEntry& entry) override {
        return step("put_entry", [&] { return kernel_.put_entry(entry); });
    }
    Result<void> remove_entry(const IpAddr& address) override {
        return step("remove_entry", [&] { return kernel_.remove_entry(address); });
    }
    Result<std::vector<datapath::EndpointEntry>> entries() override {
        return step("entries", [&] { return kernel_.entries(); });
    }
    Result<void> reserve_ports(const std::vector<PublishedPort>& wanted) override {
        return step("reserve_ports", [&] { return kernel_.reserve_ports(wanted); });
    }
    Result<void> put_frontends(const std::vector<datapath::Frontend>& frontends) override {
        return step("put_frontends", [&] { return kernel_.put_frontends(frontends); });
    }
    Result<void> remove_frontends(const std::vector<datapath::Frontend>& frontends) override {
        return step("remove_frontends", [&] { return kernel_.remove_frontends(frontends); });
    }
    Result<void> end_frontends(const std::vector<datapath::Frontend>& frontends) override {
        return step("end_frontends", [&] { return kernel_.end_frontends(frontends); });
    }
    Result<std::vector<IpAddr>> own_addresses() override {
        return step("own_addresses", [&] { return kernel_.own_addresses(); });
    }
    Result<std::vector<link::HostSocket>> host_sockets(std::uint8_t protocol) override {
        return step("host_sockets", [&] { return kernel_.host_sockets(protocol); });
    }
    Result<void> count_drops(std::uint32_t host_ifindex) override {
        return step("count_drops", [&] { return kernel_.count_drops(host_ifindex); });
    }
    Result<void> forget_drops(std::uint32_t host_ifindex) override {
        return step("forget_drops", [&] { return kernel_.forget_drops(host_ifindex); });
    }
    Result<std::vector<std::uint32_t>> devices_with_drops() override {
        return step("devices_with_drops", [&] { return kernel_.devices_with_drops(); });
    }
    Result<void> set_host_sizes(std::uint32_t host_ifindex, const link::SegmentSizes& sizes) override {
        return step("set_host_sizes", [&] { return kernel_.set_host_sizes(host_ifindex, sizes); });
    }
    Result<std::optional<link::PeerEnd>> look_at_peer(std::uint32_t host_ifindex) override {
        return step("look_at_peer", [&] { return kernel_.look_at_peer(host_ifindex); });
    }
    Result<void> set_peer_sizes(int process, std::uint64_t netns_cookie, std::uint32_t peer_ifindex,
                                const link::SegmentSizes& sizes) override {
        return step("set_peer_sizes",
                    [&] { return kernel_.set_peer_sizes(process, netns_cookie, peer_ifindex, sizes); });
    }
    Result<void> set_host_end_up(std::uint32_t host_ifindex) override {
        return step("set_host_end_up", [&] { return kernel_.set_host_end_up(host_ifindex); });
    }
    Result<void> add_host_route(const IpAddr& container, std::uint32_t mtu,
                                const std::optional<IpAddr>& gateway) override {
        return step("add_host_route", [&] { return kernel_.add_host_route(container, mtu, gateway); });
    }
    Result<void> remove_host_routes(const IpAddr& container) override {
        return step("remove_host_routes", [&] { return kernel_.remove_host_routes(container); });
    }
    Result<std::set<link::HostRoute>> host_routes() override {
        return step("host_routes", [&] { return kernel_.host_routes(); });
    }
    Result<void> await_container_end(ContainerNetns& netns, const link::ContainerEnd& end) override {
        return step("await_container_end", [&] { return kernel_.await_container_end(netns, end); });
    }

private:
    template <typename Call>
    std::invoke_result_t<Call> step(const char* name, Call call) {
        before_step(name);
        countdown_ -= countdown_ > 0 ? 1 : 0;
        if (armed_ && countdown_ == 0) {
            armed_ = false;
            failed_ = name;
            return fail_errno(EIO, "{}", name);
        }
        return call();
    }

    Plumbing& kernel_;
    int countdown_ = 0;
    bool armed_ = false;
    std::optional<std::string> failed_;
};

}  // namespace netkitd::test
