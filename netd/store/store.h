// The node's durable state: SQLite in WAL mode at /var/lib/netkitd/state.db.
//
// What is in it describes this boot's kernel: devices, netns cookies, and what netkitd changed of the host (sysctls,
// sizes), which --purge restores and a reboot undoes by itself. So it must survive kill -9 of the daemon, which any
// committed write does, and not power loss: another boot id discards it. synchronous=NORMAL therefore: commits don't
// wait for the disk, and the file is still whole after a power cut, so that the daemon starts at the next boot (OFF
// would not promise that). Checkpoints, which do sync, never run inside an attach.
//
// The connection holds the file exclusively for its life. Without sharing there is no mapped -shm file, and so no
// SIGBUS on a full disk.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ip_addr.h"
#include "base/published_port.h"
#include "base/result.h"
#include "link/device.h"

struct sqlite3;

namespace netkitd {

// How many of the addresses that were freed are known.
inline constexpr std::size_t kFreedAddressesKept = 65'536;

// A container that uses an endpoint. Containers that share a netns share the endpoint.
struct Member {
    std::string container_id;
    std::optional<std::int32_t> pid;
    std::uint64_t pid_start_time = 0;  // field 22 of /proc/PID/stat, proc_pid_stat(5); tells a recycled pid
    bool operator==(const Member&) const = default;
};

struct EndpointRecord {
    std::uint32_t id = 0;    // never reused, also across restarts
    std::uint32_t home = 0;  // which of the pool's (endpoint/homes.h)
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
    std::vector<PublishedPort> published;
    std::chrono::system_clock::time_point created;
    std::vector<Member> members;

    // Those that it has, IPv4 first.
    [[nodiscard]] std::vector<IpAddr> addresses() const;
    // "10.77.0.2, fd6e:6b64::2"
    [[nodiscard]] std::string address_text() const;
    [[nodiscard]] bool has(const IpAddr& address) const { return ipv4 == address || ipv6 == address; }
    bool operator==(const EndpointRecord&) const = default;
};

// Something of the host's that netkitd changed, and what it was before.
struct HostChange {
    std::string what;  // "sysctl net.ipv4.ip_local_reserved_ports"
    std::string before;
    std::string after;
    bool operator==(const HostChange&) const = default;
};

// A network whose gateway address and prefix route netkitd made on this host: what is to be removed when the
// configuration does not have it any more.
struct NetworkRecord {
    IpPrefix prefix;
    IpAddr gateway;
    bool operator==(const NetworkRecord&) const = default;
};

class Store {
public:
    // Which versions' database is accepted: those that this one knows, or also a newer one's, for --purge alone.
    enum class Versions : std::uint8_t { known, any };
    // Creates the file and its directory (0700) when they are missing, and brings an older version's database to this
    // one's. An error that names the file and the way out, and deletes nothing: `refused` for a newer version's,
    // another program's, or one that another daemon holds, `invalid` for a damaged one, `not_found` for one of ours
    // that lacks a table.
    [[nodiscard]] static Result<Store> open(const std::string& path, const std::string& boot_id,
                                            Versions accepted = Versions::known);
    // The same, for reading: what there was stays in the file until keep(), so that a version that then does not start
    // leaves the one before its database. Nothing is to be written before that.
    [[nodiscard]] static Result<Store> look_at(const std::string& path, const std::string& boot_id,
                                               Versions accepted = Versions::known);
    [[nodiscard]] Result<void> keep();
    // Writes the file once more where it was deleted meanwhile: the next daemon would find nothing. An error where
    // another one stands in its place.
    [[nodiscard]] Result<void> put_back();
    // Absolute.
    [[nodiscard]] std::string path() const;
    // There was none when it was opened.
    [[nodiscard]] bool is_new() const { return new_; }

    // By id. Those of another boot were discarded at open().
    [[nodiscard]] Result<std::vector<EndpointRecord>> endpoints();
    // The next id, without using it up: put_endpoint() does.
    [[nodiscard]] Result<std::uint32_t> next_endpoint_id();
    // With its members; replaces the record of that id.
    [[nodiscard]] Result<void> put_endpoint(const EndpointRecord& record);
    // With it go back `freed`, those of its addresses that no other endpoint has.
    [[nodiscard]] Result<void> remove_endpoint(std::uint32_t id, std::span<const IpAddr> freed);
    // The least recently freed first; the last kFreedAddressesKept that no endpoint took since.
    [[nodiscard]] Result<std::vector<IpAddr>> freed_addresses();

    // To be called before the network's gateway and routes are made. Of one prefix the last record counts.
    [[nodiscard]] Result<void> record_network(const NetworkRecord& network);
    [[nodiscard]] Result<std::vector<NetworkRecord>> networks();
    [[nodiscard]] Result<void> forget_network(const IpPrefix& prefix);

    // To be called before the change is made. Keeps the oldest `before` of a `what`.
    [[nodiscard]] Result<void> record_host_change(const HostChange& change);
    // In the order they were recorded first.
    [[nodiscard]] Result<std::vector<HostChange>> host_changes();
    [[nodiscard]] Result<void> forget_host_change(const std::string& what);

private:
    struct Closer {
        void operator()(sqlite3* database) const;
    };
    Store(sqlite3* database, std::string boot_id);
    std::unique_ptr<sqlite3, Closer> database_;
    std::string boot_id_;
    bool upgraded_ = false;
    bool new_ = false;
};

// /proc/sys/kernel/random/boot_id
[[nodiscard]] Result<std::string> read_boot_id();

}  // namespace netkitd
