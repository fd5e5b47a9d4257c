// Waiting for what takes a while: how long depends on where the tests run.
#pragma once

#include <functional>

namespace netkitd::test {

// Whether this is the VM of tests/vm, which is some 20 times slower than a machine.
[[nodiscard]] bool in_vm();

// Until `condition` holds, for at most half a minute (in the VM, five).
[[nodiscard]] bool eventually(const std::function<bool()>& condition);

}  // namespace netkitd::test
