#include "base/log.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace netkitd {
namespace {

std::string_view word(LogLevel level) {
    switch (level) {
        case LogLevel::error:
            return "error: ";
        case LogLevel::warning:
            return "warning: ";
        case LogLevel::debug:
            return "debug: ";
        case LogLevel::notice:
        case LogLevel::info:
            return "";
    }
    return "";
}

// The variable names what a service's stderr was at first (systemd.exec(5)); what it starts inherits that, whatever its
// own stderr is.
bool goes_to_journal() {
    const char* const journal = std::getenv("JOURNAL_STREAM");
    struct stat own{};
    return journal != nullptr && ::fstat(STDERR_FILENO, &own) == 0 &&
           formatted("{}:{}", own.st_dev, own.st_ino) == journal;
}

void append_escaped(std::string& line, std::string_view message) {
    for (const char c : message) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\n') {
            line += "\n    ";  // a verifier's log keeps its lines, indented so that none looks like one of ours
        } else if (byte < 0x20 || byte == 0x7f) {
            line += formatted("\\x{:02x}", byte);
        } else {
            line += c;
        }
    }
}

}  // namespace

void write_log(LogLevel level, std::string_view message) {
    std::string line = goes_to_journal() ? formatted("<{}>", static_cast<int>(level)) : std::string(word(level));
    append_escaped(line, message);
    line += '\n';
    // One write, so that lines of several processes don't mix. There is nowhere to report a failure to.
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace netkitd
