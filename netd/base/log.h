// Log lines on stderr, for systemd's journal or a terminal.
//
// Where standard error is the journal (JOURNAL_STREAM) a line starts with its priority as "<4>" (sd-daemon(3)), which
// the journal takes off; elsewhere with a word. Text from outside is escaped, so that no container id or annotation can
// forge a line.
#pragma once

#include <format>
#include <string_view>
#include <utility>

#include "base/format.h"

namespace netkitd {

// The numbers are those of syslog(3).
enum class LogLevel { error = 3, warning = 4, notice = 5, info = 6, debug = 7 };

void write_log(LogLevel level, std::string_view message);

template <typename... Args>
void log(LogLevel level, std::format_string<Args...> format, Args&&... args) {
    write_log(level, formatted(format, std::forward<Args>(args)...));
}

}  // namespace netkitd
