// What the host's firewall (nftables; iptables-nft too) does to packets that the host forwards. Most packets of
// containers never come there; but what it masquerades may get a port that a container has.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace netkitd::link {

struct ForwardChain {
    std::string name;    // "ip filter FORWARD": family, table, chain
    bool drops = false;  // what no rule accepts (policy drop)
    bool has_rules = false;
};

// The base chains of the forward hook, of the calling thread's netns; none where the kernel has no nftables.
[[nodiscard]] Result<std::vector<ForwardChain>> forward_chains();

// The chains that give a source any port: with masquerade or SNAT, of which no rule names ports. As ForwardChain::name.
[[nodiscard]] Result<std::vector<std::string>> chains_that_give_any_port();

}  // namespace netkitd::link
