#include "oci/report.h"

#include <syslog.h>
#include <unistd.h>

#include <csignal>
#include <string>

namespace netkitd::hook {
namespace {

// The daemon's words may carry an annotation's: no byte of them may move a terminal's cursor or start a new log line.
std::string printable(std::string_view message) {
    std::string text(message);
    for (char& c : text) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
            c = ' ';
        }
    }
    return text;
}

// syslog(3) blocks while the journal's queue is full. After a failure the cause is on stderr by then, and exit status 1
// is all that is left to say; a note is not worth a container.
template <int kExitStatus>
void end_if_blocked() {
    std::signal(SIGALRM, [](int) { ::_exit(kExitStatus); });
    ::alarm(1);
}

template <int kExitStatus>
void write_to_journal(int priority, const std::string& text) {
    end_if_blocked<kExitStatus>();
    ::openlog("netkit-hook", LOG_PID, LOG_DAEMON);
    ::syslog(priority, "%s", text.c_str());
    ::alarm(0);
}

}  // namespace

void report_failure(std::string_view message) {
    const std::string text = printable(message);
    const std::string line = "netkit-hook: " + text + "\n";
    // Nowhere to tell that stderr is closed but the journal, which gets the message next.
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
    write_to_journal<1>(LOG_ERR, text);
}

void report_note(std::string_view message) {
    write_to_journal<0>(LOG_NOTICE, printable(message));
}

}  // namespace netkitd::hook
