#include "link/sysctl.h"

#include <fcntl.h>

#include <array>
#include <filesystem>
#include <system_error>

#include "base/quote.h"
#include "base/unique_fd.h"

namespace netkitd::link {
namespace {

// Longer than most values under net/ that are read here, and than any (each other port by itself, in
// ip_local_reserved_ports).
constexpr std::size_t kValueBytes = 4096;
constexpr std::size_t kMaxValueBytes = 262144;

std::string proc_path(std::string_view path) {
    return formatted("/proc/sys/net/{}", path);
}

// `name`: below `directory`, or absolute.
Result<UniqueFd> open_at(int directory, const std::string& name, std::string_view path, int flags) {
    // A device's name may be part of the path, and comes from outside.
    if (path.empty() || path.starts_with('/') || formatted("/{}/", path).contains("/../")) {
        return fail(ErrorKind::invalid, "{} is not a path under /proc/sys/net", quote(path));
    }
    UniqueFd fd(::openat(directory, name.c_str(), flags | O_CLOEXEC));
    if (!fd) {
        const int error = errno;
        const auto kind = error == ENOENT ? ErrorKind::not_found : ErrorKind::internal;
        return std::unexpected(
            Error(kind, formatted("open sysctl {}: {}", quote(path), std::generic_category().message(error)), error));
    }
    return fd;
}

// /proc/sys/net shows the netns of whoever opens it, thread by thread.
Result<UniqueFd> open_here(std::string_view path, int flags) {
    return open_at(AT_FDCWD, proc_path(path), path, flags);
}

// What does not fit is not told, and must be read anew from the beginning (kernel/sysctl.c, proc_do_large_bitmap()).
Result<std::string> read_from(const UniqueFd& fd, std::string_view path) {
    std::string value;
    for (const std::size_t room : {kValueBytes, kMaxValueBytes}) {
        value.resize(room);
        const ssize_t size = ::pread(fd.get(), value.data(), value.size(), 0);
        if (size < 0) {
            return fail_errno(errno, "read sysctl {}", quote(path));
        }
        value.resize(static_cast<std::size_t>(size));
        if (value.size() < room) {
            break;
        }
    }
    if (value.ends_with('\n')) {
        value.pop_back();
    }
    return value;
}

Result<void> write_to(const UniqueFd& fd, std::string_view path, std::string_view value) {
    // With its newline: nothing at all is not written, so an empty value would leave the old one.
    const std::string line = formatted("{}\n", value);
    std::string_view rest = line;
    // Of a long list the kernel takes a page at a time (kernel/sysctl.c, proc_do_large_bitmap()).
    while (!rest.empty()) {
        const ssize_t size = ::write(fd.get(), rest.data(), rest.size());
        if (size < 0) {
            return fail_errno(errno, "write {} to sysctl {}", quote(value), quote(path));
        }
        if (size == 0) {
            return fail(ErrorKind::internal, "write {} to sysctl {}: only {} bytes were taken", quote(value),
                        quote(path), line.size() - rest.size());
        }
        rest.remove_prefix(static_cast<std::size_t>(size));
    }
    return {};
}

// Empty instead of not_found.
Result<std::optional<std::string>> if_there(Result<std::string> value) {
    if (!value && value.error().kind() == ErrorKind::not_found) {
        return std::nullopt;
    }
    return NK_TRY(std::move(value));
}

// Of a whole family; none where the kernel lacks it.
UniqueFd open_family(const char* family) {
    return UniqueFd(::open(proc_path(family).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

}  // namespace

Result<std::string> read_sysctl(std::string_view path) {
    return read_from(NK_TRY(open_here(path, O_RDONLY)), path);
}

Result<std::optional<std::string>> read_sysctl_if_there(std::string_view path) {
    return if_there(read_sysctl(path));
}

Result<std::vector<std::string>> list_sysctls(std::string_view path) {
    std::error_code error;
    std::filesystem::directory_iterator entry(formatted("/proc/sys/net/{}", path), error);
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
    return write_to(NK_TRY(open_here(path, O_WRONLY)), path, value);
}

Result<Sysctls> Sysctls::open() {
    Sysctls sysctls;
    sysctls.ipv4_ = open_family("ipv4");
    if (!sysctls.ipv4_) {
        return fail_errno(errno, "open /proc/sys/net/ipv4");
    }
    sysctls.ipv6_ = open_family("ipv6");
    return sysctls;
}

Result<UniqueFd> Sysctls::open_sysctl(std::string_view path, int flags) const {
    for (const auto& [family, directory] : {std::pair(std::string_view("ipv4/"), &ipv4_), {"ipv6/", &ipv6_}}) {
        if (path.starts_with(family) && *directory) {
            return open_at(directory->get(), std::string(path.substr(family.size())), path, flags);
        }
    }
    return open_here(path, flags);
}

Result<std::string> Sysctls::read(std::string_view path) const {
    return read_from(NK_TRY(open_sysctl(path, O_RDONLY)), path);
}

Result<std::optional<std::string>> Sysctls::read_if_there(std::string_view path) const {
    return if_there(read(path));
}

Result<void> Sysctls::write(std::string_view path, std::string_view value) const {
    return write_to(NK_TRY(open_sysctl(path, O_WRONLY)), path, value);
}

}  // namespace netkitd::link
