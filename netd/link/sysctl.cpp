#include "link/sysctl.h"

#include <fcntl.h>

#include <array>
#include <filesystem>
#include <system_error>

#include "base/quote.h"
#include "base/unique_fd.h"

namespace netkitd::link {
namespace {

// Longer than any value under net/ that is read or written here.
constexpr std::size_t kMaxValueBytes = 4096;

Result<UniqueFd> open_sysctl(std::string_view path, int flags) {
    // A device's name may be part of the path, and comes from outside.
    if (path.empty() || path.starts_with('/') || std::format("/{}/", path).contains("/../")) {
        return fail(ErrorKind::invalid, "{} is not a path under /proc/sys/net", quote(path));
    }
    // /proc/sys/net shows the netns of whoever opens it, thread by thread.
    UniqueFd fd(::open(std::format("/proc/sys/net/{}", path).c_str(), flags | O_CLOEXEC));
    if (!fd) {
        const int error = errno;
        const auto kind = error == ENOENT ? ErrorKind::not_found : ErrorKind::internal;
        return std::unexpected(
            Error(kind, std::format("open sysctl {}: {}", quote(path), std::generic_category().message(error)), error));
    }
    return fd;
}

}  // namespace

Result<std::string> read_sysctl(std::string_view path) {
    const UniqueFd fd = NK_TRY(open_sysctl(path, O_RDONLY));
    std::array<char, kMaxValueBytes> buffer{};
    const ssize_t size = ::read(fd.get(), buffer.data(), buffer.size());
    if (size < 0) {
        return fail_errno(errno, "read sysctl {}", quote(path));
    }
    std::string value(buffer.data(), static_cast<std::size_t>(size));
    if (value.ends_with('\n')) {
        value.pop_back();
    }
    return value;
}

Result<std::optional<std::string>> read_sysctl_if_there(std::string_view path) {
    Result<std::string> value = read_sysctl(path);
    if (!value && value.error().kind() == ErrorKind::not_found) {
        return std::nullopt;
    }
    return NK_TRY(std::move(value));
}

Result<std::vector<std::string>> list_sysctls(std::string_view path) {
    std::error_code error;
    std::filesystem::directory_iterator entry(std::format("/proc/sys/net/{}", path), error);
    std::vector<std::string> names;
    while (!error && entry != std::filesystem::directory_iterator()) {
        names.push_back(entry->path().filename());
        entry.increment(error);
    }
    if (error) {
        return fail_errno(error.value(), "list the sysctls {}", quote(path));
    }
    return names;
}

Result<void> write_sysctl(std::string_view path, std::string_view value) {
    const UniqueFd fd = NK_TRY(open_sysctl(path, O_WRONLY));
    // With its newline: nothing at all is not written, so an empty value would leave the old one.
    const std::string line = std::format("{}\n", value);
    const ssize_t size = ::write(fd.get(), line.data(), line.size());
    if (size < 0) {
        return fail_errno(errno, "write {} to sysctl {}", quote(value), quote(path));
    }
    if (static_cast<std::size_t>(size) != line.size()) {
        return fail(ErrorKind::internal, "write {} to sysctl {}: only {} bytes were taken", quote(value), quote(path),
                    size);
    }
    return {};
}

}  // namespace netkitd::link
