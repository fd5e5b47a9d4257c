// /etc/hosts of a container, hosts(5): its own name with its own addresses.
//
// Where Podman gives a container no network itself, its /etc/hosts has the container's name at 127.0.0.1. A program
// that asks for its own address by its name would tell others to find it on their own loopback device.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace netkitd::hook {

// `hosts` with the line that has `host_name` at a loopback address replaced by one for each of `addresses`, with all of
// its names. Nothing where there is no such line: then the file is the user's own.
[[nodiscard]] std::optional<std::string> with_own_addresses(std::string_view hosts, std::string_view host_name,
                                                            const std::vector<std::string>& addresses);

}  // namespace netkitd::hook
