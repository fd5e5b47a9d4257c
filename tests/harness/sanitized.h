// Whether the address and undefined behaviour sanitizers are built in (preset "sanitize").
#pragma once

namespace netkitd::test {

#ifdef __SANITIZE_ADDRESS__
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace netkitd::test
