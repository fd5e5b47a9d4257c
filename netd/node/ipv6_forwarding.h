// IPv6 forwarding: without it the host's stack does not answer for containers (hop limit used up, packet too big, no
// route), and the datapath's route look-ups are refused.
//
// An endpoint's own device is made to forward (endpoint/plumbing). That is all where the kernel has force_forwarding
// (Linux 6.17); before, ip6_forward() asks for net.ipv6.conf.all.forwarding alone. Both have a side effect: whenever
// anything but 0 is written to any device's `forwarding`, also 1 over 1, the kernel forgets every default route that it
// learnt from a router advertisement on a device with accept_ra other than 2 (rt6_purge_dflt_routers in
// net/ipv6/addrconf.c and route.c). So accept_ra=2, which says the same as 1 on a device that does not forward, comes
// first.
//
// Whatever is changed is recorded before, in an order such that undoing it backwards is right at every step.
#pragma once

#include <set>
#include <string>

#include "base/result.h"
#include "store/store.h"

namespace netkitd {

// Empty, or why this host has no IPv6 to give to containers.
[[nodiscard]] Result<std::string> why_no_ipv6();

// accept_ra=2 on those of the devices that take router advertisements now. Idempotent.
[[nodiscard]] Result<void> keep_default_routes(Store& store, const std::set<std::string>& devices);

[[nodiscard]] Result<bool> kernel_forwards_by_device();
// For a kernel that cannot: turns on conf.all.forwarding. That flips every device, and `default`, from which new ones
// are copied; they get their own values back at once, so that none of them becomes a router. Idempotent; a run that was
// cut short is completed by the next.
[[nodiscard]] Result<void> forward_everywhere(Store& store);
// What --purge does to the change that forward_everywhere() recorded: every device's own value stays what it is.
[[nodiscard]] Result<void> restore_forwarding(const std::string& value);
// The sysctl that forward_everywhere() changes, below net/.
inline constexpr std::string_view kForwardingEverywhere = "ipv6/conf/all/forwarding";

}  // namespace netkitd
