#include "harness/wait.h"

#include <chrono>
#include <cstdlib>
#include <thread>

namespace netkitd::test {

using namespace std::chrono_literals;

bool in_vm() {
    return std::getenv("NETKITD_VM") != nullptr;
}

bool eventually(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + (in_vm() ? 300s : 30s);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) {
            return false;
        }
        std::this_thread::sleep_for(2ms);
    }
    return true;
}

}  // namespace netkitd::test
