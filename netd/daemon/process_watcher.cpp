#include "daemon/process_watcher.h"

namespace netkitd {

Result<void> ProcessWatcher::watch(const std::string& container_id, UniqueFd pidfd) {
    // sd-event keeps a source, and with it this callback's id, until the callback has returned: it may forget() itself.
    auto source = NK_TRY(loop_.on_readable(pidfd.get(), [this, container_id] { on_exit_(container_id); }));
    watched_.insert_or_assign(container_id, Watched{.pidfd = std::move(pidfd), .source = std::move(source)});
    return {};
}

}  // namespace netkitd
