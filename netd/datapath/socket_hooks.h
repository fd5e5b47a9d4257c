// The programs that sockets run while ports are published (bpf/published_socket.bpf.c), at the root of the cgroups.
// Each costs every socket of this machine a little, so none is there while nothing needs it.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "datapath/pins.h"
#include "datapath/programs.h"

namespace netkitd::datapath {

inline constexpr std::string_view kSocketPrefix = "socket-";  // of their links' pins

class SocketHooks {
public:
    // `programs`: borrowed, for the life of this.
    SocketHooks(Programs& programs, Pins pins) : programs_(&programs), pins_(std::move(pins)) {}

    // Attaches what is missing, or has another daemon's program, or detaches all. After an error none is there, or
    // another daemon's would go on by what that one knew; the next call tries again.
    [[nodiscard]] Result<void> follow(bool wanted);
    // The same where all seems to be as wanted: somebody may have removed a pin, and with it the link.
    [[nodiscard]] Result<void> put(bool wanted);
    [[nodiscard]] bool are_there() const { return there_.value_or(false); }

private:
    [[nodiscard]] Result<void> attach(bpf_program& program, const std::string& root) const;
    // The names of their pins.
    [[nodiscard]] Result<std::set<std::string>> attach_all() const;
    // What is not among them: that of the version before, too.
    [[nodiscard]] Result<void> detach_others(const std::set<std::string>& attached) const;

    Programs* programs_;
    Pins pins_;
    std::optional<bool> there_;  // unknown: of a daemon before, or after an error
};

}  // namespace netkitd::datapath
