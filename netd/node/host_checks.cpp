#include "node/host_checks.h"

#include <fstream>

namespace netkitd {

Result<void> refuse_realtime_kernel(const std::string& path) {
    std::ifstream file(path);
    int value = 0;
    if (file >> value && value == 1) {
        return fail(ErrorKind::refused,
                    "this kernel is a real-time one ({} is 1), on which netkitd's programs are not safe: boot another "
                    "kernel of the same version, without PREEMPT_RT",
                    path);
    }
    return {};
}

}  // namespace netkitd
