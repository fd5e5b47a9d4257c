#include "store/sqlite_statement.h"

#include <utility>

namespace netkitd {
namespace {

// SQLite's primary result codes (sqlite.org/rescode.html) that have a way out of their own.
std::string explain(int code, const std::string& path) {
    switch (code & 0xff) {  // the low byte of an extended code
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
            return "another netkitd, or another program, has it open; stop that one, or give this daemon a `store` of "
                   "its own";
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
            return formatted(
                "the file is damaged or not netkitd's; nothing was deleted. To begin afresh, move it out of the way "
                "(mv '{0}' '{0}.damaged') and start netkitd: containers that run keep their network",
                path);
        case SQLITE_FULL:
            return "the file system is full; free some space and try again";
        case SQLITE_READONLY:
            return "the file or its file system is read-only; make it writable, or point `store` elsewhere";
        case SQLITE_CANTOPEN:
            return "it cannot be opened or created; check that its directory is there and writable";
        case SQLITE_IOERR:
            return "reading or writing failed; check the disk and `dmesg`";
        default:
            return {};
    }
}

ErrorKind kind_of(int code) {
    switch (code & 0xff) {
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
            return ErrorKind::refused;
        case SQLITE_FULL:
        case SQLITE_NOMEM:
            return ErrorKind::exhausted;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
            return ErrorKind::invalid;
        case SQLITE_ERROR:  // a table or a column that a statement names
            return ErrorKind::not_found;
        default:
            return ErrorKind::internal;
    }
}

}  // namespace

Error sqlite_error(sqlite3* database, int code, const std::string& path) {
    const char* const detail = database != nullptr ? sqlite3_errmsg(database) : sqlite3_errstr(code);
    const std::string way_out = explain(code, path);
    const int system_error = database != nullptr ? sqlite3_system_errno(database) : 0;
    return {kind_of(code),
            formatted("state database {}: {}{}{}{}", path, detail,
                      system_error != 0 ? formatted(" ({})", std::generic_category().message(system_error)) : "",
                      way_out.empty() ? "" : ": ", way_out),
            system_error};
}

Result<Statement> Statement::prepare(sqlite3* database, std::string_view sql) {
    sqlite3_stmt* statement = nullptr;
    const int code = sqlite3_prepare_v2(database, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
    if (code != SQLITE_OK) {
        return std::unexpected(sqlite_error(database, code, sqlite3_db_filename(database, "main")));
    }
    return Statement(statement);
}

void Statement::note(int code) {
    if (code != SQLITE_OK && bind_error_ == SQLITE_OK) {
        bind_error_ = code;
    }
}

Error Statement::error(int code) const {
    sqlite3* const database = sqlite3_db_handle(statement_.get());
    return sqlite_error(database, code, sqlite3_db_filename(database, "main"));
}

Statement& Statement::bind(std::int64_t value) {
    note(sqlite3_bind_int64(statement_.get(), ++parameter_, value));
    return *this;
}

Statement& Statement::bind(std::string_view text) {
    note(sqlite3_bind_text64(statement_.get(), ++parameter_, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
    return *this;
}

Statement& Statement::bind(std::optional<std::string> text) {
    return text ? bind(std::string_view(*text)) : bind_null();
}

Statement& Statement::bind(std::span<const std::uint8_t> blob) {
    note(sqlite3_bind_blob64(statement_.get(), ++parameter_, blob.data(), blob.size(), SQLITE_TRANSIENT));
    return *this;
}

Statement& Statement::bind_null() {
    note(sqlite3_bind_null(statement_.get(), ++parameter_));
    return *this;
}

Result<bool> Statement::step() {
    if (bind_error_ != SQLITE_OK) {
        return std::unexpected(error(bind_error_));
    }
    const int code = sqlite3_step(statement_.get());
    if (code == SQLITE_ROW || code == SQLITE_DONE) {
        return code == SQLITE_ROW;
    }
    return std::unexpected(error(code));
}

Result<void> Statement::run() {
    while (NK_TRY(step())) {
    }
    return {};
}

std::int64_t Statement::integer(int column) const {
    return sqlite3_column_int64(statement_.get(), column);
}

std::string Statement::text(int column) const {
    return optional_text(column).value_or("");
}

std::optional<std::string> Statement::optional_text(int column) const {
    const auto* const bytes = sqlite3_column_text(statement_.get(), column);
    if (bytes == nullptr) {
        return std::nullopt;
    }
    return std::string(bytes, bytes + sqlite3_column_bytes(statement_.get(), column));
}

std::span<const std::uint8_t> Statement::blob(int column) const {
    const auto* const bytes = static_cast<const std::uint8_t*>(sqlite3_column_blob(statement_.get(), column));
    return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

bool Statement::is_null(int column) const {
    return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

Result<void> execute(sqlite3* database, const char* sql) {
    const int code = sqlite3_exec(database, sql, nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) {
        return std::unexpected(sqlite_error(database, code, sqlite3_db_filename(database, "main")));
    }
    return {};
}

Result<Transaction> Transaction::begin(sqlite3* database) {
    NK_TRY(execute(database, "BEGIN IMMEDIATE"));
    return Transaction(database);
}

Result<void> Transaction::commit() {
    NK_TRY(execute(open_.get(), "COMMIT"));
    // Nothing is left to roll back: the database itself is the store's.
    [[maybe_unused]] sqlite3* const committed = open_.release();
    return {};
}

}  // namespace netkitd
