// What the names of this project's annotations begin with, for whoever looks for them in a container's.
#pragma once

#include <string_view>

namespace netkitd {

inline constexpr std::string_view kAnnotationPrefix = "io.netkitd.";

}  // namespace netkitd
