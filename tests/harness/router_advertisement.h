// A router on the link, as far as a host's default route goes: it sends router advertisements (RFC 4861).
#pragma once

#include <string>

#include "harness/netns.h"

namespace netkitd::test {

// Sends one advertisement, good for half an hour, out of the namespace's device. The device has fe80::1 then.
void advertise_router(const NetworkNamespace& router, const std::string& device);

}  // namespace netkitd::test
