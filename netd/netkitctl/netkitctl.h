// netkitctl without its main(), so that tests can run it.
#pragma once

#include <ostream>

namespace netkitd::ctl {

// The exit status: 0 done, 1 refused or failed, 2 usage.
[[nodiscard]] int run(int argc, const char* const* argv, std::ostream& out, std::ostream& err);

}  // namespace netkitd::ctl
