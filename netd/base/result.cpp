#include "base/result.h"

#include <array>

namespace netkitd {
namespace {

constexpr std::array<std::pair<ErrorKind, std::string_view>, 6> kKindNames{{
    {ErrorKind::invalid, "invalid"},
    {ErrorKind::refused, "refused"},
    {ErrorKind::exhausted, "exhausted"},
    {ErrorKind::not_found, "not-found"},
    {ErrorKind::unavailable, "unavailable"},
    {ErrorKind::internal, "internal"},
}};

}  // namespace

std::string_view to_string(ErrorKind kind) {
    for (const auto& [value, name] : kKindNames) {
        if (value == kind) {
            return name;
        }
    }
    return "internal";
}

ErrorKind error_kind_from(std::string_view name) {
    for (const auto& [value, text] : kKindNames) {
        if (text == name) {
            return value;
        }
    }
    return ErrorKind::internal;
}

}  // namespace netkitd
