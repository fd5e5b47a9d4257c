#include "base/read_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/unique_fd.h"

namespace netkitd {

Result<std::string> read_file(int fd, std::size_t max_bytes) {
    constexpr std::size_t kChunkBytes = 16UL * 1024;
    std::string text;
    for (;;) {
        const std::size_t before = text.size();
        text.resize(before + kChunkBytes);
        const ssize_t count = TEMP_FAILURE_RETRY(::read(fd, text.data() + before, kChunkBytes));
        if (count < 0) {
            return fail_errno(errno, "read it");
        }
        text.resize(before + static_cast<std::size_t>(count));
        if (count == 0) {
            return text;
        }
        if (text.size() > max_bytes) {
            return fail(ErrorKind::invalid, "longer than {} bytes", max_bytes);
        }
    }
}

Result<std::string> read_file(const std::string& path, std::size_t max_bytes) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) {
        return fail_errno(errno, "open {}", path);
    }
    return with_context(read_file(fd.get(), max_bytes), path);
}

}  // namespace netkitd
