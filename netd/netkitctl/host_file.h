// Small files of the host that the doctor reads.
#pragma once

#include <optional>
#include <string>

#include "netkitctl/doctor.h"

namespace netkitd::ctl {

[[nodiscard]] std::filesystem::path path_on(const Host& host, const std::string& absolute_path);
// Without trailing white space, at most 64 KiB; nothing when it is larger or cannot be read.
[[nodiscard]] std::optional<std::string> read_on(const Host& host, const std::string& absolute_path);
[[nodiscard]] bool is_executable_on(const Host& host, const std::string& absolute_path);

}  // namespace netkitd::ctl
