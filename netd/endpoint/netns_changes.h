// What an attach changes of a container's netns, beside its own interface: a netns that lives on gets it back at the
// end.
//
// It is written into the alias of the host's end (ip-link(8)), which lives as long as the endpoint does: a restart of
// the daemon forgets nothing, and what a crash left of an attach says it too.
#pragma once

#include <string>
#include <string_view>

namespace netkitd {

struct NetnsChanges {
    bool local_ports = false;  // net.ipv4.ip_local_port_range was the kernel's own, which the user did not choose
    bool loopback_up = false;  // `lo` was down

    [[nodiscard]] bool any() const { return local_ports || loopback_up; }
    bool operator==(const NetnsChanges&) const = default;
};

// "netkitd web network=default changed=local-ports,lo"
[[nodiscard]] std::string alias_text(std::string_view container_id, std::string_view network,
                                     const NetnsChanges& changes);
// Of whom it speaks; empty: an alias of somebody else's.
[[nodiscard]] std::string container_in(std::string_view alias);
// Of an alias that says nothing about it: none.
[[nodiscard]] NetnsChanges changes_in(std::string_view alias);

}  // namespace netkitd
