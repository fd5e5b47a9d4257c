// The programs that sockets run while ports are published (bpf/published_socket.bpf.c), at the root of the cgroups.
//
// Each costs every socket of this machine a little, so none is there that nothing needs: those for what datagrams say
// of their sender, while a port of UDP is published (connected sockets ask that too); those for datagrams that no
// connected socket sends, while one is at a loopback address; the others while any port is.
#pragma once

#include <optional>
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

    struct Wanted {
        bool sockets = false;
        bool senders = false;    // of datagrams that come
        bool datagrams = false;  // that no connected socket sends
        bool operator==(const Wanted&) const = default;
    };
    // Attaches what is missing, or has another daemon's program, and detaches what nothing needs. After an error none
    // is there, or another daemon's would go on by what that one knew; the next call tries again.
    [[nodiscard]] Result<void> follow(Wanted wanted);
    // The same where all seems to be as wanted: somebody may have removed a pin, and with it the link.
    [[nodiscard]] Result<void> put(Wanted wanted);

private:
    [[nodiscard]] Result<void> attach(bpf_program& program, const std::string& root) const;
    [[nodiscard]] Result<void> change_to(Wanted wanted) const;

    Programs* programs_;
    Pins pins_;
    std::optional<Wanted> there_;  // unknown: of a daemon before, or after an error
};

}  // namespace netkitd::datapath
