#include "daemon/recent_errors.h"

#include "base/log.h"

namespace netkitd {
namespace {

constexpr std::size_t kKept = 16;

}  // namespace

void RecentErrors::report(const std::string& what, const Error& error) {
    log(LogLevel::error, "{}: {}", what, error.message());
    resolved(what);
    if (errors_.size() == kKept) {
        errors_.pop_front();
    }
    errors_.push_back({.when = std::chrono::system_clock::now(), .what = what, .message = error.message()});
}

void RecentErrors::resolved(const std::string& what) {
    std::erase_if(errors_, [&](const RecentError& error) { return error.what == what; });
}

void RecentErrors::record(const std::string& what, const Result<void>& result) {
    if (result) {
        resolved(what);
    } else {
        report(what, result.error());
    }
}

}  // namespace netkitd
