#include "daemon/process_watcher.h"

namespace netkitd {

Result<void> ProcessWatcher::watch(const std::string& container_id, UniqueFd pidfd) {
    // A copy of the id: the callback may forget() its own watch.
    auto source = NK_TRY(loop_.on_readable(pidfd.get(), [this, container_id] {
        const std::string id = container_id;
        on_exit_(id);
    }));
    watched_.insert_or_assign(container_id, Watched{.pidfd = std::move(pidfd), .source = std::move(source)});
    return {};
}

}  // namespace netkitd
