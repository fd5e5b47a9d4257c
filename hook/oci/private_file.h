// A file that only one container has: mounted over the one of its image, and gone with its mount namespace.
//
// It lies in a small file system of its own (tmpfs), so that what the container writes into it ends there: a file of
// the host's would let it fill the host's /run. No name of that file system is left anywhere, so there is nothing to
// remove, whatever ends first.
#pragma once

#include <string_view>

#include <sys/types.h>

#include "base/result.h"

namespace netkitd::hook {

struct Owner {
    uid_t uid = 0;  // in the host's view
    gid_t gid = 0;
};

// Mounts a file with `text` on `target` (an O_PATH descriptor), in the mount namespace of the calling thread, where
// `directory` is one that nobody looks at meanwhile. Changes the working directory.
[[nodiscard]] Result<void> mount_private_file(std::string_view text, const Owner& owner, int target, int directory);

}  // namespace netkitd::hook
