#include "store/store.h"

#include <sqlite3.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <fstream>
#include <limits>

#include "base/join.h"
#include "base/log.h"
#include "store/schema.h"
#include "store/sqlite_statement.h"

namespace netkitd {
namespace {

namespace fs = std::filesystem;

// SQLite's own default, in pages: the log is folded into the file when it has grown to about 4 MB.
constexpr int kCheckpointPages = 1000;

Result<void> make_directory(const fs::path& directory) {
    std::error_code error;
    if (directory.empty() || fs::is_directory(directory, error)) {
        return {};
    }
    fs::create_directories(directory, error);
    if (!error) {
        fs::permissions(directory, fs::perms::owner_all, error);
    }
    if (error) {
        return fail_errno(error.value(), "state database: create directory {}", directory.native());
    }
    return {};
}

// Locks the file for the life of the connection (the first write takes the lock, exclusive mode keeps it), and makes
// it ours, but not before it is clear that it isn't somebody else's. Leaves the transaction open in which it did that.
Result<Tables> prepare(sqlite3* database, const std::string& path, const std::string& boot_id,
                       Store::Versions accepted) {
    if (sqlite3_db_readonly(database, "main") == 1) {
        return std::unexpected(sqlite_error(nullptr, SQLITE_READONLY, path));
    }
    NK_TRY(execute(database, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA foreign_keys = ON"));
    NK_TRY(check_owner(database, path));
    if (accepted == Store::Versions::known) {
        NK_TRY(check_version(database, path));
    }
    NK_TRY(execute(database, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE"));
    sqlite3_wal_autocheckpoint(database, 0);
    const Tables tables = NK_TRY(prepare_schema(database, path));
    NK_TRY(discard_other_boots(database, boot_id));
    return tables;
}

// While it lives, a commit that finds a long log folds it into the file.
class CheckpointsAllowed {
public:
    explicit CheckpointsAllowed(sqlite3* database) : database_(database) {
        sqlite3_wal_autocheckpoint(database_, kCheckpointPages);
    }
    ~CheckpointsAllowed() { sqlite3_wal_autocheckpoint(database_, 0); }
    CheckpointsAllowed(const CheckpointsAllowed&) = delete;
    CheckpointsAllowed& operator=(const CheckpointsAllowed&) = delete;
    CheckpointsAllowed(CheckpointsAllowed&&) = delete;
    CheckpointsAllowed& operator=(CheckpointsAllowed&&) = delete;

private:
    sqlite3* database_;
};

std::optional<std::string> text_of(const std::optional<IpAddr>& address) {
    return address.transform(&IpAddr::to_string);
}

Result<std::optional<IpAddr>> address_in(const Statement& row, int column) {
    const auto text = row.optional_text(column);
    if (!text) {
        return std::nullopt;
    }
    return NK_TRY(IpAddr::parse(*text));
}

link::MacAddr mac_in(const Statement& row, int column) {
    link::MacAddr mac;
    std::ranges::copy(row.blob(column).first(mac.bytes.size()), mac.bytes.begin());  // its length is a CHECK
    return mac;
}

Result<std::vector<Member>> members_of(sqlite3* database, std::uint32_t endpoint_id) {
    Statement rows = NK_TRY(Statement::prepare(
        database, "SELECT container_id, pid, pid_start_time FROM members WHERE endpoint_id = ? ORDER BY position"));
    rows.bind(endpoint_id);
    std::vector<Member> members;
    while (NK_TRY(rows.step())) {
        members.push_back(
            {.container_id = rows.text(0),
             .pid = rows.is_null(1) ? std::nullopt : std::optional(static_cast<std::int32_t>(rows.integer(1))),
             .pid_start_time = std::bit_cast<std::uint64_t>(rows.integer(2))});
    }
    return members;
}

// The columns are those of the SELECT in Store::endpoints().
Result<EndpointRecord> endpoint_in(const Statement& row) {
    using std::chrono::duration_cast;
    using Clock = std::chrono::system_clock;
    EndpointRecord record;
    record.id = static_cast<std::uint32_t>(row.integer(0));
    record.netns_cookie = std::bit_cast<std::uint64_t>(row.integer(1));
    record.network = row.text(2);
    record.interface_name = row.text(3);
    record.ipv4 = NK_TRY(address_in(row, 4));
    record.ipv6 = NK_TRY(address_in(row, 5));
    record.mtu = static_cast<std::uint32_t>(row.integer(6));
    record.device_mode = NK_TRY(link::parse_device_mode(row.text(7)));
    record.host_name = row.text(8);
    record.host_ifindex = static_cast<std::uint32_t>(row.integer(9));
    record.host_mac = mac_in(row, 10);
    record.peer_mac = mac_in(row, 11);
    record.home = static_cast<std::uint32_t>(row.integer(13));
    if (const std::string published(row.text(14)); !published.empty()) {
        record.published = NK_TRY(parse_published_ports(published));
    }
    record.created = Clock::time_point(duration_cast<Clock::duration>(std::chrono::nanoseconds(row.integer(12))));
    return record;
}

Result<void> insert_row(sqlite3* database, const EndpointRecord& record) {
    using std::chrono::nanoseconds;
    Statement insert = NK_TRY(Statement::prepare(
        database,
        "INSERT INTO endpoints (id, netns_cookie, network, interface_name, ipv4, ipv6, mtu, device_mode, "
        "host_name, host_ifindex, host_mac, peer_mac, created_ns, home, published) VALUES "
        "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"));
    const std::string published = to_string(record.published);
    return insert.bind(std::int64_t{record.id})
        .bind(std::bit_cast<std::int64_t>(record.netns_cookie))
        .bind(std::string_view(record.network))
        .bind(std::string_view(record.interface_name))
        .bind(text_of(record.ipv4))
        .bind(text_of(record.ipv6))
        .bind(std::int64_t{record.mtu})
        .bind(link::to_string(record.device_mode))
        .bind(std::string_view(record.host_name))
        .bind(std::int64_t{record.host_ifindex})
        .bind(std::span(record.host_mac.bytes))
        .bind(std::span(record.peer_mac.bytes))
        .bind(std::chrono::duration_cast<nanoseconds>(record.created.time_since_epoch()).count())
        .bind(std::int64_t{record.home})
        .bind(std::string_view(published))
        .run();
}

Result<void> insert_members(sqlite3* database, const EndpointRecord& record) {
    std::int64_t position = 0;
    for (const Member& member : record.members) {
        Statement insert =
            NK_TRY(Statement::prepare(database,
                                      "INSERT INTO members (endpoint_id, position, container_id, pid, pid_start_time) "
                                      "VALUES (?,?,?,?,?)"));
        insert.bind(std::int64_t{record.id}).bind(position++).bind(std::string_view(member.container_id));
        member.pid ? insert.bind(std::int64_t{*member.pid}) : insert.bind_null();
        NK_TRY(insert.bind(std::bit_cast<std::int64_t>(member.pid_start_time)).run());
    }
    return {};
}

Result<void> delete_row(sqlite3* database, std::uint32_t id) {
    Statement remove = NK_TRY(Statement::prepare(database, "DELETE FROM endpoints WHERE id = ?"));
    return remove.bind(std::int64_t{id}).run();
}

Result<void> take_from_freed(sqlite3* database, const EndpointRecord& record) {
    for (const IpAddr& address : record.addresses()) {
        Statement taken = NK_TRY(Statement::prepare(database, "DELETE FROM freed_addresses WHERE address = ?"));
        NK_TRY(taken.bind(std::optional(address.to_string())).run());
    }
    return {};
}

Result<void> add_to_freed(sqlite3* database, std::span<const IpAddr> addresses) {
    for (const IpAddr& address : addresses) {
        Statement insert =
            NK_TRY(Statement::prepare(database, "INSERT OR REPLACE INTO freed_addresses (address) VALUES (?)"));
        NK_TRY(insert.bind(std::optional(address.to_string())).run());
    }
    // Endpoints of both families take two places each.
    constexpr std::int64_t kPositions = 2 * static_cast<std::int64_t>(kFreedAddressesKept);
    Statement trim = NK_TRY(Statement::prepare(
        database, "DELETE FROM freed_addresses WHERE position <= (SELECT max(position) FROM freed_addresses) - ?"));
    return trim.bind(kPositions).run();
}

// All or nothing.
Result<void> write_copy(sqlite3* database, const std::string& path) {
    const std::string unfinished = path + ".new";
    std::error_code error;
    fs::remove(unfinished, error);
    Statement write = NK_TRY(Statement::prepare(database, "VACUUM INTO ?"));
    Result<void> written = write.bind(std::string_view(unfinished)).run();
    if (written) {
        fs::remove(path + "-wal", error);  // the former file's: it would be read as the new one's
        fs::rename(unfinished, path, error);
        written = error ? fail_errno(error.value(), "rename {} to {}", unfinished, path) : Result<void>();
    }
    if (!written) {
        fs::remove(unfinished, error);
    }
    return written;
}

}  // namespace

std::vector<IpAddr> EndpointRecord::addresses() const {
    std::vector<IpAddr> result;
    for (const auto& address : {ipv4, ipv6}) {
        if (address) {
            result.push_back(*address);
        }
    }
    return result;
}

std::string EndpointRecord::address_text() const {
    return join(addresses(), &IpAddr::to_string);
}

void Store::Closer::operator()(sqlite3* database) const {
    sqlite3_close(database);
}

Store::Store(sqlite3* database, std::string boot_id) : database_(database), boot_id_(std::move(boot_id)) {}

Result<Store> Store::open(const std::string& path, const std::string& boot_id, Versions accepted) {
    Store store = NK_TRY(look_at(path, boot_id, accepted));
    NK_TRY(store.keep());
    return store;
}

Result<Store> Store::look_at(const std::string& path, const std::string& boot_id, Versions accepted) {
    NK_TRY(make_directory(fs::path(path).parent_path()));
    sqlite3* database = nullptr;
    const int code = sqlite3_open_v2(path.c_str(), &database,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXRESCODE, nullptr);
    Store store(database, boot_id);  // SQLite hands out a connection to close on failure too
    if (code != SQLITE_OK) {
        return std::unexpected(sqlite_error(database, code, path));
    }
    const Tables tables = NK_TRY(prepare(database, path, boot_id, accepted));
    store.upgraded_ = tables == Tables::upgraded;
    store.new_ = tables == Tables::made;
    return store;
}

std::string Store::path() const {
    return sqlite3_db_filename(database_.get(), "main");
}

Result<void> Store::keep() {
    if (sqlite3_get_autocommit(database_.get()) != 0) {  // no transaction is open
        return {};
    }
    NK_TRY(execute(database_.get(), "COMMIT"));
    if (upgraded_) {
        log(LogLevel::notice, "the state database is that of netkitd {} now", NETKITD_VERSION);
    }
    return {};
}

Result<void> Store::put_back() {
    int moved = 0;
    sqlite3_file_control(database_.get(), "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (moved == 0) {
        return {};
    }
    const std::string path = this->path();
    std::error_code error;
    const bool is_empty = fs::is_regular_file(path, error) && fs::file_size(path, error) == 0;
    if (fs::exists(path, error) && !is_empty) {
        return fail(ErrorKind::refused,
                    "state database {} was replaced while netkitd had it open: put the former one back, or move this "
                    "one away and netkitd writes it again",
                    path);
    }
    log(LogLevel::warning, "state database {} was gone: it is written again", path);
    NK_TRY(make_directory(fs::path(path).parent_path()));
    NK_TRY(write_copy(database_.get(), path));
    // A database that has moved is closed without a look at its log (pager.c: databaseIsUnmoved).
    auto copy = open(path, boot_id_);
    if (!copy) {
        fs::remove(path, error);  // else it would pass for somebody else's
        return std::unexpected(std::move(copy).error());
    }
    *this = std::move(*copy);
    return {};
}

Result<std::vector<EndpointRecord>> Store::endpoints() {
    Statement rows = NK_TRY(
        Statement::prepare(database_.get(),
                           "SELECT id, netns_cookie, network, interface_name, ipv4, ipv6, mtu, device_mode, host_name, "
                           "host_ifindex, host_mac, peer_mac, created_ns, home, published FROM endpoints ORDER BY id"));
    std::vector<EndpointRecord> records;
    while (NK_TRY(rows.step())) {
        EndpointRecord record = NK_TRY_CONTEXT("read an endpoint from the state database", endpoint_in(rows));
        record.members = NK_TRY(members_of(database_.get(), record.id));
        records.push_back(std::move(record));
    }
    return records;
}

Result<std::uint32_t> Store::next_endpoint_id() {
    Statement row = NK_TRY(Statement::prepare(database_.get(), "SELECT next_endpoint_id FROM node"));
    NK_TRY(row.step());
    if (row.integer(0) > std::numeric_limits<std::uint32_t>::max()) {
        return fail(ErrorKind::exhausted, "all {} endpoint numbers are used up; netkitd --purge begins anew",
                    std::numeric_limits<std::uint32_t>::max());
    }
    return static_cast<std::uint32_t>(row.integer(0));
}

Result<void> Store::put_endpoint(const EndpointRecord& record) {
    Transaction transaction = NK_TRY(Transaction::begin(database_.get()));
    NK_TRY(delete_row(database_.get(), record.id));
    NK_TRY(insert_row(database_.get(), record));
    NK_TRY(insert_members(database_.get(), record));
    NK_TRY(take_from_freed(database_.get(), record));
    Statement use_up =
        NK_TRY(Statement::prepare(database_.get(), "UPDATE node SET next_endpoint_id = max(next_endpoint_id, ? + 1)"));
    NK_TRY(use_up.bind(std::int64_t{record.id}).run());
    return transaction.commit();
}

Result<void> Store::remove_endpoint(std::uint32_t id, std::span<const IpAddr> freed) {
    const CheckpointsAllowed checkpoints(database_.get());
    Transaction transaction = NK_TRY(Transaction::begin(database_.get()));
    NK_TRY(delete_row(database_.get(), id));
    NK_TRY(add_to_freed(database_.get(), freed));
    return transaction.commit();
}

Result<std::vector<IpAddr>> Store::freed_addresses() {
    Statement rows =
        NK_TRY(Statement::prepare(database_.get(), "SELECT address FROM freed_addresses ORDER BY position"));
    std::vector<IpAddr> addresses;
    while (NK_TRY(rows.step())) {
        addresses.push_back(NK_TRY_CONTEXT("read a freed address", IpAddr::parse(rows.text(0))));
    }
    return addresses;
}

Result<void> Store::record_network(const NetworkRecord& network) {
    Statement insert =
        NK_TRY(Statement::prepare(database_.get(), "INSERT OR REPLACE INTO networks (prefix, gateway) VALUES (?,?)"));
    return insert.bind(std::optional(network.prefix.to_string()))
        .bind(std::optional(network.gateway.to_string()))
        .run();
}

Result<std::vector<NetworkRecord>> Store::networks() {
    Statement rows = NK_TRY(Statement::prepare(database_.get(), "SELECT prefix, gateway FROM networks"));
    std::vector<NetworkRecord> networks;
    while (NK_TRY(rows.step())) {
        networks.push_back({.prefix = NK_TRY_CONTEXT("read a network's prefix", IpPrefix::parse(rows.text(0))),
                            .gateway = NK_TRY_CONTEXT("read a network's gateway", IpAddr::parse(rows.text(1)))});
    }
    return networks;
}

Result<void> Store::forget_network(const IpPrefix& prefix) {
    Statement remove = NK_TRY(Statement::prepare(database_.get(), "DELETE FROM networks WHERE prefix = ?"));
    return remove.bind(std::optional(prefix.to_string())).run();
}

Result<void> Store::record_host_change(const HostChange& change) {
    Statement insert = NK_TRY(Statement::prepare(database_.get(),
                                                 "INSERT INTO host_changes (what, before, after) VALUES (?,?,?) "
                                                 "ON CONFLICT (what) DO UPDATE SET after = excluded.after"));
    return insert.bind(std::string_view(change.what))
        .bind(std::string_view(change.before))
        .bind(std::string_view(change.after))
        .run();
}

Result<std::vector<HostChange>> Store::host_changes() {
    Statement rows =
        NK_TRY(Statement::prepare(database_.get(), "SELECT what, before, after FROM host_changes ORDER BY position"));
    std::vector<HostChange> changes;
    while (NK_TRY(rows.step())) {
        changes.push_back({.what = rows.text(0), .before = rows.text(1), .after = rows.text(2)});
    }
    return changes;
}

Result<void> Store::forget_host_change(const std::string& what) {
    Statement remove = NK_TRY(Statement::prepare(database_.get(), "DELETE FROM host_changes WHERE what = ?"));
    return remove.bind(std::string_view(what)).run();
}

Result<std::string> read_boot_id() {
    constexpr const char* kPath = "/proc/sys/kernel/random/boot_id";  // proc_sys_kernel(5)
    std::ifstream file(kPath);
    std::string boot_id;
    if (!std::getline(file, boot_id) || boot_id.empty()) {
        return fail(ErrorKind::internal, "{} cannot be read; is /proc mounted?", kPath);
    }
    return boot_id;
}

}  // namespace netkitd
