#include "datapath/pins.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "abi.h"

namespace netkitd::datapath {
namespace {

namespace fs = std::filesystem;

std::string version_directory() {
    return std::format("abi{}", NETKITD_ABI_VERSION);
}

Result<void> require_bpffs(const std::string& directory) {
    struct statfs info{};
    if (statfs(directory.c_str(), &info) != 0) {
        return fail_errno(errno, "look at {}", directory);
    }
    if (info.f_type != BPF_FS_MAGIC) {
        return fail(
            ErrorKind::unavailable,
            "{} is not on a bpf file system: mount one (mount -t bpf bpf /sys/fs/bpf) or name another directory "
            "with --bpffs",
            directory);
    }
    return {};
}

Result<void> make_directory(const std::string& path) {
    if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
        return fail_errno(errno, "create {}", path);
    }
    return {};
}

Result<void> refuse_other_versions(const std::string& directory) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(directory, error)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with("abi") && name != version_directory()) {
            return fail(ErrorKind::refused,
                        "{} holds the datapath of another netkitd version ({}, this one has {}): stop the containers "
                        "and run that version's netkitd --purge first",
                        directory, name, version_directory());
        }
    }
    return {};
}

}  // namespace

Result<Pins> Pins::prepare(const std::string& directory) {
    const std::string root = std::format("{}/{}", directory, version_directory());
    NK_TRY(require_bpffs(fs::path(directory).parent_path().string()));
    NK_TRY(make_directory(directory));
    NK_TRY(refuse_other_versions(directory));
    for (const std::string& path : {root, root + "/maps", root + "/links"}) {
        NK_TRY(make_directory(path));
    }
    return Pins(root);
}

std::string Pins::map(std::string_view name) const {
    return std::format("{}/maps/{}", root_, name);
}

std::string Pins::link(std::string_view name) const {
    return std::format("{}/links/{}", root_, name);
}

Result<std::vector<std::string>> Pins::link_names() const {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(root_ + "/links", error)) {
        names.push_back(entry.path().filename().string());
    }
    if (error) {
        return fail_errno(error.value(), "list {}/links", root_);
    }
    return names;
}

Result<void> Pins::unpin_link(std::string_view name) const {
    if (::unlink(link(name).c_str()) != 0 && errno != ENOENT) {
        return fail_errno(errno, "unpin {}", link(name));
    }
    return {};
}

Result<void> Pins::remove_all(const std::string& directory) {
    const std::string root = std::format("{}/{}", directory, version_directory());
    std::error_code error;
    // remove_all() counts a directory that is not there as done.
    fs::remove_all(root, error);
    if (!error) {
        // Another version's pins, or somebody else's, keep the directory.
        if (::rmdir(directory.c_str()) == 0 || errno == ENOENT || errno == ENOTEMPTY) {
            return {};
        }
        error.assign(errno, std::generic_category());
    }
    return fail_errno(error.value(), "remove {}", directory);
}

}  // namespace netkitd::datapath
