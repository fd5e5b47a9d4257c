// The program of the host's loopback device (bpf/loopback.bpf.c), by which programs of this host reach published ports
// that their sockets are not led to. All of the host's own traffic to itself runs it, so that it is there only while
// such a port is published.
#pragma once

#include <optional>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "datapath/pins.h"
#include "datapath/programs.h"

namespace netkitd::datapath {

inline constexpr std::string_view kLoopbackPin = "loopback";

class LoopbackProgram {
public:
    // `programs`: borrowed, for the life of this.
    LoopbackProgram(Programs& programs, Pins pins) : programs_(&programs), pins_(std::move(pins)) {}

    // As SocketHooks' (socket_hooks.h).
    [[nodiscard]] Result<void> follow(bool wanted);
    [[nodiscard]] Result<void> put(bool wanted);
    [[nodiscard]] bool is_there() const { return there_.value_or(false); }

private:
    [[nodiscard]] Result<void> attach() const;
    [[nodiscard]] Result<void> detach() const;

    Programs* programs_;
    Pins pins_;
    std::optional<bool> there_;  // unknown: of a daemon before, or after an error
};

}  // namespace netkitd::datapath
