// The last error of everything that is tried again, for `netkitctl status`. What succeeds later is taken off.
#pragma once

#include <chrono>
#include <deque>
#include <string>

#include "base/result.h"

namespace netkitd {

struct RecentError {
    std::chrono::system_clock::time_point when;
    std::string what;  // "attach CONTAINER", "follow the uplinks"
    std::string message;
};

class RecentErrors {
public:
    // Also logs it.
    void report(const std::string& what, const Error& error);
    void resolved(const std::string& what);
    // report() or resolved().
    void record(const std::string& what, const Result<void>& result);
    // Oldest first, at most 16.
    [[nodiscard]] const std::deque<RecentError>& list() const { return errors_; }

private:
    std::deque<RecentError> errors_;
};

}  // namespace netkitd
