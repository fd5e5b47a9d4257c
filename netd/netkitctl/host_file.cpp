#include "netkitctl/host_file.h"

#include <unistd.h>

#include <fstream>

namespace netkitd::ctl {

std::filesystem::path path_on(const Host& host, const std::string& absolute_path) {
    return host.root / std::filesystem::path(absolute_path).relative_path();
}

std::optional<std::string> read_on(const Host& host, const std::string& absolute_path) {
    std::ifstream file(path_on(host, absolute_path), std::ios::binary);
    if (!file) {
        return std::nullopt;
    }
    constexpr std::size_t kMaxBytes = 64UL * 1024;
    std::string text(kMaxBytes, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (file.bad()) {
        return std::nullopt;
    }
    text.resize(static_cast<std::size_t>(file.gcount()));
    text.erase(text.find_last_not_of(" \t\n") + 1);
    return text;
}

bool is_executable_on(const Host& host, const std::string& absolute_path) {
    const auto path = path_on(host, absolute_path);
    std::error_code error;
    return std::filesystem::is_regular_file(path, error) && ::access(path.c_str(), X_OK) == 0;
}

}  // namespace netkitd::ctl
