// A router on the link, as far as a host's routes go: it sends router advertisements (RFC 4861).
#pragma once

#include <string>

#include "harness/netns.h"

namespace netkitd::test {

// Sends one advertisement, good for half an hour, out of the namespace's device. The device has fe80::1 then.
void advertise_router(const NetworkNamespace& router, const std::string& device);
// As somebody who is none: it advertises nothing but that a prefix is on the link, and, of 64 bits, that hosts may make
// themselves addresses in it.
void advertise_prefix(const NetworkNamespace& router, const std::string& device, const std::string& prefix);

}  // namespace netkitd::test
