// SQLite with RAII and Result: a prepared statement, a transaction, and errors that name the file and the way out.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace netkitd {

// The error of the last call on `database`, or of `code` where there is no connection.
[[nodiscard]] Error sqlite_error(sqlite3* database, int code, const std::string& path);

class Statement {
public:
    [[nodiscard]] static Result<Statement> prepare(sqlite3* database, std::string_view sql);

    // Parameters are bound in order, from the first on. A failure to bind (out of memory) is reported by step().
    Statement& bind(std::int64_t value);
    Statement& bind(std::string_view text);
    Statement& bind(std::optional<std::string> text);
    Statement& bind(std::span<const std::uint8_t> blob);
    Statement& bind_null();

    // True: a row is there to be read. False: done.
    [[nodiscard]] Result<bool> step();
    // To the end, for statements that yield nothing.
    [[nodiscard]] Result<void> run();

    // Columns of the row, counted from 0.
    [[nodiscard]] std::int64_t integer(int column) const;
    [[nodiscard]] std::string text(int column) const;
    [[nodiscard]] std::optional<std::string> optional_text(int column) const;
    // Valid until the next step().
    [[nodiscard]] std::span<const std::uint8_t> blob(int column) const;
    [[nodiscard]] bool is_null(int column) const;

private:
    struct Finalizer {
        void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
    };
    explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
    void note(int code);
    [[nodiscard]] Error error(int code) const;

    std::unique_ptr<sqlite3_stmt, Finalizer> statement_;
    int parameter_ = 0;
    int bind_error_ = SQLITE_OK;
};

// Several statements without parameters.
[[nodiscard]] Result<void> execute(sqlite3* database, const char* sql);

// Rolls back unless committed.
class Transaction {
public:
    [[nodiscard]] static Result<Transaction> begin(sqlite3* database);
    [[nodiscard]] Result<void> commit();

private:
    struct RollBack {
        void operator()(sqlite3* database) const { sqlite3_exec(database, "ROLLBACK", nullptr, nullptr, nullptr); }
    };
    explicit Transaction(sqlite3* database) : open_(database) {}
    std::unique_ptr<sqlite3, RollBack> open_;
};

}  // namespace netkitd
