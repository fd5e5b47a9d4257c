// The node's durable state: SQLite in WAL mode at /var/lib/netkitd/state.db.
//
// Endpoints must survive kill -9 of the daemon, not power loss: another boot id discards them, so the attach path
// never waits for a disk (synchronous=OFF is safe against a crash of the process). Host changes (sysctls, sizes) are
// what --purge restores: they are written before the change is made.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ip_addr.h"
#include "base/result.h"
#include "link/device.h"

struct sqlite3;

namespace netkitd {

// A container that uses an endpoint. Containers that share a netns share the endpoint.
struct Member {
    std::string container_id;
    std::optional<std::int32_t> pid;
    std::uint64_t pid_start_time = 0;  // field 22 of /proc/PID/stat, proc_pid_stat(5); tells a recycled pid
    bool operator==(const Member&) const = default;
};

struct EndpointRecord {
    std::uint32_t id = 0;  // never reused, also across restarts
    std::uint64_t netns_cookie = 0;
    std::string network;
    std::string interface_name;  // in the container
    std::optional<IpAddr> ipv4;
    std::optional<IpAddr> ipv6;
    std::uint32_t mtu = 0;
    link::DeviceMode device_mode{};
    std::string host_name;
    std::uint32_t host_ifindex = 0;
    link::MacAddr host_mac;
    link::MacAddr peer_mac;
    std::chrono::system_clock::time_point created;
    std::vector<Member> members;
    bool operator==(const EndpointRecord&) const = default;
};

// Something of the host's that netkitd changed, and what it was before.
struct HostChange {
    std::string what;  // "sysctl net.ipv4.ip_local_reserved_ports"
    std::string before;
    std::string after;
    bool operator==(const HostChange&) const = default;
};

class Store {
public:
    // Creates the file and its directory (0700) when they are missing. A database of another schema version, a
    // corrupt one or one that another daemon holds is an error that names the file and the way out.
    [[nodiscard]] static Result<Store> open(const std::string& path, const std::string& boot_id);

    // Of this boot. Those of another boot were discarded at open().
    [[nodiscard]] Result<std::vector<EndpointRecord>> endpoints();
    // The next id, without using it up: insert_endpoint() does.
    [[nodiscard]] Result<std::uint32_t> next_endpoint_id();
    // With its members; replaces the record of that id.
    [[nodiscard]] Result<void> put_endpoint(const EndpointRecord& record);
    [[nodiscard]] Result<void> remove_endpoint(std::uint32_t id);

    // Keeps the oldest `before` of a `what`; fully synced before it returns.
    [[nodiscard]] Result<void> record_host_change(const HostChange& change);
    [[nodiscard]] Result<std::vector<HostChange>> host_changes();
    [[nodiscard]] Result<void> forget_host_change(const std::string& what);

private:
    struct Closer {
        void operator()(sqlite3* database) const;
    };
    explicit Store(sqlite3* database);
    std::unique_ptr<sqlite3, Closer> database_;
};

// /proc/sys/kernel/random/boot_id
[[nodiscard]] Result<std::string> read_boot_id();

}  // namespace netkitd
