#include "netkitctl/host_file.h"

#include <unistd.h>

#include "base/read_file.h"

namespace netkitd::ctl {

std::filesystem::path path_on(const Host& host, const std::string& absolute_path) {
    return host.root / std::filesystem::path(absolute_path).relative_path();
}

std::optional<std::string> read_on(const Host& host, const std::string& absolute_path) {
    constexpr std::size_t kMaxBytes = 64UL * 1024;
    auto text = read_file(path_on(host, absolute_path), kMaxBytes);
    if (!text) {
        return std::nullopt;
    }
    text->erase(text->find_last_not_of(" \t\n") + 1);
    return std::move(*text);
}

bool is_executable_on(const Host& host, const std::string& absolute_path) {
    const auto path = path_on(host, absolute_path);
    std::error_code error;
    return std::filesystem::is_regular_file(path, error) && ::access(path.c_str(), X_OK) == 0;
}

}  // namespace netkitd::ctl
