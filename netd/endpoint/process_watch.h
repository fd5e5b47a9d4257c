// Tells when a process is over. The event loop implements it.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace netkitd {

class ProcessWatch {
public:
    virtual ~ProcessWatch() = default;
    // Calls EndpointManager::process_exited(container_id) once. A watch of that id that is there already is replaced.
    [[nodiscard]] virtual Result<void> watch(const std::string& container_id, UniqueFd pidfd) = 0;
    virtual void forget(const std::string& container_id) = 0;
};

}  // namespace netkitd
