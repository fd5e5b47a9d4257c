// What containers answer programs of this host comes in by its loopback device, with an address of the host's as its
// source (bpf/lib/nat/host_client.h). IPv4's input takes such a packet for forged unless two settings of that device
// say otherwise; nothing but the host itself and netkitd's programs sends by it.
#pragma once

#include "base/result.h"
#include "store/store.h"

namespace netkitd {

// Turns both on, recorded (host_changes.h), or restores them.
[[nodiscard]] Result<void> take_answers_of_loopback(Store& store, bool wanted);

}  // namespace netkitd
