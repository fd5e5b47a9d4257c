#include "base/format.h"

namespace netkitd {

std::string format_arguments(std::string_view format, std::format_args arguments) {
    return std::vformat(format, arguments);
}

}  // namespace netkitd
