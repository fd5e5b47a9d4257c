// One libFuzzer program; FUZZ_FUNCTION names what it calls (inputs.h).
#include <cstddef>
#include <cstdint>

#include "fuzz/inputs.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    netkitd::fuzz::FUZZ_FUNCTION({reinterpret_cast<const char*>(data), size});
    return 0;
}
