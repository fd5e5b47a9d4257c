// Policy rules of the host's (ip-rule(8)): which table a packet's way is looked for in. Those of others may lead past
// the main table, where the routes to containers are (an exit node's: everything by the tunnel); ours lead there
// before.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip_addr.h"
#include "base/result.h"
#include "netlink/socket.h"

namespace netkitd::link {

struct PolicyRule {
    IpFamily family = IpFamily::v4;
    std::uint32_t preference = 0;  // rules are asked in this order
    std::uint32_t table = 0;       // that it leads to, or 0
    std::uint32_t go_to = 0;       // the preference that it goes on with, or 0
    std::optional<IpPrefix> to;    // the destinations that it is about; all
    bool is_ours = false;          // by kRouteProtocol
    bool leads_past_main = false;  // decides, or asks another table, before the main one is asked
    bool suppresses = false;       // some of that table's routes
};

// Of both families.
[[nodiscard]] Result<std::vector<PolicyRule>> list_policy_rules(Netlink& host);

// One of ours: the way to `prefix` is looked for in the main table once `preference` is reached, or, with `go_to`, by
// the rules from there on.
struct OwnRule {
    std::uint32_t preference = 0;
    IpPrefix prefix;
    std::uint32_t go_to = 0;
    [[nodiscard]] std::string text() const;  // as ip-rule(8) has it
    auto operator<=>(const OwnRule&) const = default;
};
// One that is there already is not an error, nor is one that is not there.
[[nodiscard]] Result<void> add_rule(Netlink& host, const OwnRule& rule);
[[nodiscard]] Result<void> remove_rule(Netlink& host, const OwnRule& rule);

}  // namespace netkitd::link
