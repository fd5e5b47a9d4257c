#include "datapath/pins.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/parse_number.h"

namespace netkitd::datapath {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDirectory = "abi3";
constexpr std::string_view kUpgrade = "upgrade-";

bool is_version_directory(const std::string& name) {
    return name.starts_with("abi");
}

constexpr const char* kWayOut =
    "install that version again, or stop the containers and run netkitd --purge, which removes what any version made";

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
        if (is_version_directory(name) && name != kDirectory) {
            return fail(ErrorKind::refused, "{} holds the datapath of another version of netkitd ({}): {}", directory,
                        name, kWayOut);
        }
    }
    return {};
}

Result<std::vector<std::string>> list(const std::string& directory) {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(directory, error)) {
        names.push_back(entry.path().filename().string());
    }
    if (error) {
        return fail_errno(error.value(), "list {}", directory);
    }
    return names;
}

bool is_there(const std::string& path) {
    std::error_code error;
    return fs::exists(path, error);
}

Result<void> remove_pin(const std::string& path) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
        return fail_errno(errno, "unpin {}", path);
    }
    return {};
}

}  // namespace

Result<Pins> Pins::prepare(const std::string& directory) {
    const std::string root = formatted("{}/{}", directory, kDirectory);
    NK_TRY(require_bpffs(fs::path(directory).parent_path().string()));
    NK_TRY(make_directory(directory));
    NK_TRY(refuse_other_versions(directory));
    Pins pins(root);
    NK_TRY(pins.make_directories());
    NK_TRY(pins.refuse_newer_maps());
    return pins;
}

Result<void> Pins::make_directories() const {
    for (const std::string& path : {fs::path(root_).parent_path().string(), root_, root_ + "/maps", root_ + "/links"}) {
        NK_TRY(make_directory(path));
    }
    return {};
}

Result<void> Pins::refuse_newer_maps() const {
    for (const std::string& name : NK_TRY(map_names())) {
        const auto pin = parse_pin_name(name);
        if (!pin || (pin->version != layout_version(pin->map) && !is_older(*pin))) {
            return fail(ErrorKind::refused, "{}/maps/{} is the map of a newer version of netkitd: {}", root_, name,
                        kWayOut);
        }
    }
    return {};
}

std::string Pins::map(std::string_view name) const {
    return map({.map = std::string(name), .version = layout_version(name).value_or(1)});
}

std::string Pins::map(const PinName& older) const {
    return formatted("{}/maps/{}", root_, pin_name(older.map, older.version));
}

Result<std::vector<PinName>> Pins::older_maps() const {
    std::vector<PinName> older;
    for (const std::string& name : NK_TRY(map_names())) {
        const auto pin = parse_pin_name(name);
        if (pin && is_older(*pin)) {
            older.push_back(*pin);
        }
    }
    return older;
}

bool Pins::has_map(std::string_view name) const {
    return is_there(map(name));
}

Result<void> Pins::unpin_map(const PinName& older) const {
    return remove_pin(map(older));
}

Result<std::vector<std::string>> Pins::map_names() const {
    return list(root_ + "/maps");
}

Result<void> Pins::unpin_maps_except(const std::vector<std::string>& kept) const {
    for (const std::string& name : NK_TRY(map_names())) {
        if (!std::ranges::contains(kept, name)) {
            NK_TRY(remove_pin(formatted("{}/maps/{}", root_, name)));
        }
    }
    return {};
}

std::string Pins::link(std::string_view name) const {
    return formatted("{}/links/{}", root_, name);
}

bool Pins::has_link(std::string_view name) const {
    return is_there(link(name));
}

Result<std::vector<std::string>> Pins::link_names() const {
    return list(root_ + "/links");
}

Result<void> Pins::unpin_link(std::string_view name) const {
    return remove_pin(link(name));
}

Result<std::optional<std::chrono::nanoseconds>> Pins::copied_at() const {
    for (const std::string& name : NK_TRY(list(root_))) {
        if (name.starts_with(kUpgrade)) {
            const auto at = parse_number<std::uint64_t>(std::string_view(name).substr(kUpgrade.size()));
            return at ? std::optional(std::chrono::nanoseconds(static_cast<std::int64_t>(*at))) : std::nullopt;
        }
    }
    return std::nullopt;
}

Result<void> Pins::note_copied(std::chrono::nanoseconds at) const {
    return make_directory(formatted("{}/{}{}", root_, kUpgrade, at.count()));
}

Result<void> Pins::forget_copied() const {
    for (const std::string& name : NK_TRY(list(root_))) {
        const std::string path = formatted("{}/{}", root_, name);
        if (name.starts_with(kUpgrade) && ::rmdir(path.c_str()) != 0) {
            return fail_errno(errno, "remove {}", path);
        }
    }
    return {};
}

Result<void> Pins::remove_all(const std::string& directory) {
    std::error_code error;
    // What any version made.
    for (const auto& entry : fs::directory_iterator(directory, error)) {
        if (is_version_directory(entry.path().filename().string())) {
            fs::remove_all(entry.path(), error);
        }
        if (error) {
            return fail_errno(error.value(), "remove {}", entry.path().string());
        }
    }
    // Somebody else's pins keep the directory.
    if (::rmdir(directory.c_str()) == 0 || errno == ENOENT || errno == ENOTEMPTY) {
        return {};
    }
    return fail_errno(errno, "remove {}", directory);
}

}  // namespace netkitd::datapath
