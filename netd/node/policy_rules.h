// The way to containers where the host has policy rules: a rule of ours for each prefix, before the first of others'
// that would lead past the main table, where the routes to containers are (Tailscale's exit node, a second provider's
// table). So what is longer in the main table, an address or a link of the host's, goes first as ever. What the host
// has of a part of the prefix in a table that a rule leads to goes first too: a rule before ours goes on with that one.
//
// Without such a rule of others' there is none of ours: the kernel remembers that there were rules until it is started
// again (fib_has_custom_rules), and looks longer for each way.
#pragma once

#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "link/host_prefixes.h"
#include "link/policy_rules.h"
#include "netlink/socket.h"

namespace netkitd {

// `rules`: those that there are. `prefixes`: what the host has. `ipv6`: whether containers have it. Idempotent.
[[nodiscard]] Result<void> sync_policy_rules(link::Netlink& host, const std::vector<link::PolicyRule>& rules,
                                             const Config& config, const std::vector<link::HostPrefix>& prefixes,
                                             bool ipv6);
// All of ours.
[[nodiscard]] Result<void> remove_policy_rules(link::Netlink& host);

}  // namespace netkitd
