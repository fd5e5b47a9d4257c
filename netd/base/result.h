// Result<T>: a value, or an Error that says what happened, to what, and what kind of failure it is.
//
// Libraries return errors and callers add context; whoever answers a person (the daemon's reply, main) prints the
// chain once. The kind is what programs branch on (it is the `code` of an IPC reply); `system_error` carries errno
// for the few places where an errno is normal flow (EEXIST on a retried add, ENODEV on a delete).
#pragma once

#include <cerrno>
#include <expected>
#include <format>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/format.h"

namespace netkitd {

enum class ErrorKind {
    invalid,      // the input is wrong; nothing was changed
    refused,      // the input is fine but policy or the state of the host forbids it
    exhausted,    // a bounded resource (addresses, ports, a table) has nothing left
    not_found,    // the thing named does not exist
    unavailable,  // a peer or service is not there, or did not answer in time
    internal,     // a system call or library failed
};

[[nodiscard]] std::string_view to_string(ErrorKind kind);
// The inverse of to_string; an unknown name reads as internal (a newer peer may know more kinds).
[[nodiscard]] ErrorKind error_kind_from(std::string_view name);

class [[nodiscard]] Error {
public:
    Error(ErrorKind kind, std::string message, int system_error = 0)
        : kind_(kind), system_error_(system_error), message_(std::move(message)) {}

    [[nodiscard]] ErrorKind kind() const { return kind_; }
    // errno of the failed call, positive; 0 where no system call failed.
    [[nodiscard]] int system_error() const { return system_error_; }
    // The whole chain, outermost context first: "attach web: create netkit pair nk12: File exists".
    [[nodiscard]] const std::string& message() const { return message_; }

    [[nodiscard]] Error context(std::string_view what) && {
        message_.insert(0, formatted("{}: ", what));
        return std::move(*this);
    }

private:
    ErrorKind kind_;
    int system_error_;
    std::string message_;
};

template <typename T>
using Result = std::expected<T, Error>;

// return fail(ErrorKind::invalid, "io.netkitd.mtu: '{}' is not a number", text);
template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail(ErrorKind kind, std::format_string<Args...> format, Args&&... args) {
    return std::unexpected(Error(kind, formatted(format, std::forward<Args>(args)...)));
}

// A failed system call: "open /run/x: No such file or directory". `error` is a positive errno.
template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail_errno(int error, std::format_string<Args...> format, Args&&... args) {
    return std::unexpected(Error(
        ErrorKind::internal,
        formatted("{}: {}", formatted(format, std::forward<Args>(args)...), std::generic_category().message(error)),
        error));
}

// Keeps the first error, so that what does several things goes on after one: keep_first(result, remove(b)).
inline void keep_first(Result<void>& first, Result<void> next) {
    if (first && !next) {
        first = std::move(next);
    }
}

// Adds context to a failure on its way up: return with_context(open_socket(), "listen on /run/x").
template <typename T>
[[nodiscard]] Result<T> with_context(Result<T> result, std::string_view what) {
    if (!result) {
        return std::unexpected(std::move(result).error().context(what));
    }
    return result;
}

}  // namespace netkitd

// auto fd = NK_TRY(open_file(path)): the value, or return the error from the enclosing function.
#define NK_TRY(expression) NK_TRY_NAMED(NK_TRY_NAME(__COUNTER__), expression, )
// The same, with context added to the error: NK_TRY_CONTEXT(formatted("read {}", path), read(path)).
#define NK_TRY_CONTEXT(what, expression) NK_TRY_NAMED(NK_TRY_NAME(__COUNTER__), expression, .context(what))

// A name of its own for each, so that one may stand inside another.
#define NK_TRY_NAME(counter) NK_TRY_PASTE(nk_try_result_, counter)
#define NK_TRY_PASTE(a, b) a##b
// NOLINTBEGIN(bugprone-macro-parentheses): `result` is a name to declare, `add_context` a call or nothing.
#define NK_TRY_NAMED(result, expression, add_context)                      \
    __extension__({                                                        \
        auto result = (expression);                                        \
        if (!result) {                                                     \
            return std::unexpected(std::move(result).error() add_context); \
        }                                                                  \
        *std::move(result);                                                \
    })
// NOLINTEND(bugprone-macro-parentheses)
