// What the host's firewall (nftables; iptables-nft too) does to packets that the host forwards. Most packets of
// containers never come there; but what it masquerades may get a port that a container has.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace netkitd::link {

struct FilterChain {
    enum class Hook { input, forward };

    std::string name;  // "ip filter FORWARD": family, table, chain
    Hook hook = Hook::forward;
    bool drops = false;  // what no rule accepts (policy drop)
    bool has_rules = false;
    bool names_host_device = false;  // in a rule of its own: iifname netkitd0
};

// The base chains of these hooks, of the calling thread's netns; none where the kernel has no nftables.
[[nodiscard]] Result<std::vector<FilterChain>> filter_chains();

// The chains that give a source any port: with masquerade or SNAT, of which no rule names ports. As FilterChain::name.
[[nodiscard]] Result<std::vector<std::string>> chains_that_give_any_port();

}  // namespace netkitd::link
