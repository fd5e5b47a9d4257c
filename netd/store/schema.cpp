#include "store/schema.h"

#include <array>
#include <span>

#include "base/quote.h"
#include "store/sqlite_statement.h"

namespace netkitd {
namespace {

// PRAGMA application_id, shown by file(1): "nkd1". Tells our files from other programs' databases.
constexpr int kApplicationId = 0x6e6b6431;

// Each brings the tables from one version to the next (PRAGMA user_version), beginning with an empty file, and stays as
// it is once it was released: a new table or column is a new step, and tests/unit/schemas/ gets the version before.
constexpr std::array kSteps{
    R"(
CREATE TABLE node (
    boot_id          TEXT    NOT NULL,
    next_endpoint_id INTEGER NOT NULL CHECK (next_endpoint_id BETWEEN 1 AND 4294967296)
) STRICT;
INSERT INTO node VALUES ('', 1);

CREATE TABLE endpoints (
    id             INTEGER PRIMARY KEY CHECK (id BETWEEN 0 AND 4294967295),
    netns_cookie   INTEGER NOT NULL,
    network        TEXT    NOT NULL,
    interface_name TEXT    NOT NULL,
    ipv4           TEXT,
    ipv6           TEXT,
    mtu            INTEGER NOT NULL CHECK (mtu BETWEEN 0 AND 4294967295),
    device_mode    TEXT    NOT NULL,
    host_name      TEXT    NOT NULL,
    host_ifindex   INTEGER NOT NULL CHECK (host_ifindex BETWEEN 0 AND 4294967295),
    host_mac       BLOB    NOT NULL CHECK (length(host_mac) = 6),
    peer_mac       BLOB    NOT NULL CHECK (length(peer_mac) = 6),
    created_ns     INTEGER NOT NULL
) STRICT;

CREATE TABLE members (
    endpoint_id    INTEGER NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    position       INTEGER NOT NULL,
    container_id   TEXT    NOT NULL,
    pid            INTEGER CHECK (pid BETWEEN 0 AND 2147483647),
    pid_start_time INTEGER NOT NULL,
    PRIMARY KEY (endpoint_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE host_changes (
    position INTEGER PRIMARY KEY,
    what     TEXT NOT NULL UNIQUE,
    before   TEXT NOT NULL,
    after    TEXT NOT NULL
) STRICT;
)",
    R"(
CREATE TABLE freed_addresses (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    address  TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE networks (
    prefix  TEXT PRIMARY KEY,
    gateway TEXT NOT NULL
) STRICT, WITHOUT ROWID;
)",
    R"(
ALTER TABLE node ADD COLUMN written_by TEXT NOT NULL DEFAULT '';
)",
    // An endpoint's home followed from its number.
    R"(
ALTER TABLE endpoints ADD COLUMN home INTEGER NOT NULL DEFAULT 0 CHECK (home BETWEEN 0 AND 4294967295);
UPDATE endpoints SET home = id % 256;
)",
    // As the annotation has them.
    R"(
ALTER TABLE endpoints ADD COLUMN published TEXT NOT NULL DEFAULT '';
)",
#ifdef NETKITD_NEXT_VERSION  // of the upgrade tests
    R"(
ALTER TABLE endpoints ADD COLUMN next_version TEXT;
)",
#endif
};
constexpr std::int64_t kSchemaVersion = kSteps.size();

Result<std::int64_t> read_number(sqlite3* database, const char* sql) {
    Statement statement = NK_TRY(Statement::prepare(database, sql));
    NK_TRY(statement.step());
    return statement.integer(0);
}

Result<bool> is_empty(sqlite3* database) {
    return NK_TRY(read_number(database, "SELECT count(*) FROM sqlite_schema")) == 0;
}

Result<std::int64_t> schema_version(sqlite3* database) {
    return read_number(database, "PRAGMA user_version");
}

Result<void> take_steps_from(std::int64_t version, sqlite3* database) {
    for (const char* const step : std::span(kSteps).subspan(static_cast<std::size_t>(version))) {
        NK_TRY(execute(database, step));
    }
    const auto owned =
        formatted("PRAGMA application_id = {}; PRAGMA user_version = {}; UPDATE node SET written_by = '{}'",
                  kApplicationId, kSchemaVersion, NETKITD_VERSION);
    return execute(database, owned.c_str());
}

// Empty: an old one, or a newer one that does not say so where this one looks.
std::string written_by(sqlite3* database) {
    auto row = Statement::prepare(database, "SELECT written_by FROM node");
    return row && row->step().value_or(false) ? row->text(0) : "";
}

Result<void> check_integrity(sqlite3* database, const std::string& path) {
    Statement check = NK_TRY(Statement::prepare(database, "PRAGMA quick_check(1)"));
    NK_TRY(check.step());
    if (check.text(0) != "ok") {
        return std::unexpected(sqlite_error(nullptr, SQLITE_CORRUPT, path).context(check.text(0)));
    }
    return {};
}

}  // namespace

Result<void> check_owner(sqlite3* database, const std::string& path) {
    if (NK_TRY(is_empty(database))) {
        return {};
    }
    if (NK_TRY(read_number(database, "PRAGMA application_id")) != kApplicationId) {
        return fail(ErrorKind::refused, "state database {}: a database of another program; point `store` elsewhere",
                    path);
    }
    return {};
}

Result<void> check_version(sqlite3* database, const std::string& path) {
    if (NK_TRY(is_empty(database))) {
        return {};
    }
    const auto version = NK_TRY(schema_version(database));
    if (version < 1 || version > kSchemaVersion) {
        return fail(ErrorKind::refused,
                    "state database {}: netkitd {} wrote it (its schema is version {}, this netkitd knows up to {}): "
                    "install that one again, or stop the containers and run netkitd --purge, which gives back what any "
                    "version took",
                    path, quote(written_by(database)), version, kSchemaVersion);
    }
    return {};
}

Result<Tables> prepare_schema(sqlite3* database, const std::string& path) {
    if (NK_TRY(is_empty(database))) {
        NK_TRY(take_steps_from(0, database));
        return Tables::made;
    }
    NK_TRY(check_integrity(database, path));
    const auto version = NK_TRY(schema_version(database));
    if (version > kSchemaVersion || (version == kSchemaVersion && written_by(database) == NETKITD_VERSION)) {
        return Tables::known;
    }
    NK_TRY(take_steps_from(version, database));
    return Tables::upgraded;
}

Result<void> discard_other_boots(sqlite3* database, const std::string& boot_id) {
    Statement current = NK_TRY(Statement::prepare(database, "SELECT 1 FROM node WHERE boot_id = ?"));
    if (NK_TRY(current.bind(std::string_view(boot_id)).step())) {
        return {};
    }
    NK_TRY(execute(database,
                   "DELETE FROM endpoints; DELETE FROM host_changes; DELETE FROM freed_addresses; "
                   "DELETE FROM networks"));
    Statement update = NK_TRY(Statement::prepare(database, "UPDATE node SET boot_id = ?"));
    return update.bind(std::string_view(boot_id)).run();
}

}  // namespace netkitd
