#include "datapath/bpf_log.h"

#include <bpf/libbpf.h>

#include <cstdarg>
#include <cstdio>
#include <string>

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
    // The verifier's log comes in one piece of many kilobytes, and what is wrong is said at its end.
    va_list again;
    va_copy(again, arguments);
    const int size = std::vsnprintf(nullptr, 0, format, again);
    va_end(again);
    if (size <= 0) {
        return size;
    }
    std::string text(static_cast<std::size_t>(size) + 1, '\0');
    const int written = std::vsnprintf(text.data(), text.size(), format, arguments);
    text.pop_back();
    destination->append(text);
    return written;
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
