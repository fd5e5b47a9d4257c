// Whether the address and undefined behaviour sanitizers are built into the product (preset "sanitize").
#pragma once

extern "C" {
// The sanitizer's runtime has it (sanitizer/asan_interface_internal.h). The tests are not instrumented themselves.
[[gnu::weak]] void __asan_init();  // NOLINT(bugprone-reserved-identifier,readability-identifier-naming): its name
}

namespace netkitd::test {

inline bool is_sanitized() {
    return &__asan_init != nullptr;
}

}  // namespace netkitd::test
