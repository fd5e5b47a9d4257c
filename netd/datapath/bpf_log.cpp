#include "datapath/bpf_log.h"

#include <bpf/libbpf.h>

#include <array>
#include <cstdarg>
#include <cstdio>

namespace netkitd::datapath {
namespace {

constexpr std::size_t kTailBytes = 4096;

// The callback has no user data, so the destination is thread-local; it is null while nobody listens.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
thread_local std::string* destination = nullptr;

int append(libbpf_print_level level, const char* format, va_list arguments) {
    if (destination == nullptr || level == LIBBPF_DEBUG) {
        return 0;
    }
    std::array<char, 8192> line{};
    const int size = std::vsnprintf(line.data(), line.size(), format, arguments);
    destination->append(line.data());
    return size;
}

}  // namespace

BpfLog::BpfLog() {
    destination = &text_;
    libbpf_set_print(append);
}

BpfLog::~BpfLog() {
    destination = nullptr;
}

std::string BpfLog::tail() const {
    return text_.size() <= kTailBytes ? text_ : "…" + text_.substr(text_.size() - kTailBytes);
}

}  // namespace netkitd::datapath
