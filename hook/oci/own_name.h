// A container's own name in its /etc/hosts.
//
// Podman gives a container without a network of its own "127.0.0.1 NAME" there (seen: 5.4.2), and writes that only
// after the runtime has created the container, so after this hook, into a file that it has mounted before. So the hook
// leaves a child behind, which waits for that one write and then puts the container's addresses in the place of
// 127.0.0.1. It ends with the container's process, or after some seconds, whatever comes first.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace netkitd::hook {

struct OwnName {
    std::string hosts_file;  // in the host's view
    std::string host_name;
    std::vector<std::string> addresses;
};

// `pidfd`: of the container's process. An error: the file is left as it is.
[[nodiscard]] Result<void> put_own_name(const OwnName& name, int pidfd);

}  // namespace netkitd::hook
