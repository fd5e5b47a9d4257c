#include "oci/bundle.h"

#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/quote.h"
#include "base/read_file.h"
#include "base/unique_fd.h"

namespace netkitd::hook {
namespace {

using nlohmann::json;

// Podman's are some 12 KiB; every device and mount that a container has is in it.
constexpr std::size_t kMaxConfigBytes = 4UL * 1024 * 1024;

std::string string_at(const json& object, const char* key) {
    if (!object.is_object()) {
        return "";
    }
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// libpod's own, in the container's directory (container_internal_common.go, writeHostsFile).
std::string hosts_file_in(const json& config) {
    const auto mounts = config.is_object() ? config.find("mounts") : config.end();
    if (!config.is_object() || mounts == config.end() || !mounts->is_array()) {
        return "";
    }
    for (const json& mount : *mounts) {
        if (string_at(mount, "destination") == "/etc/hosts") {
            std::string source = string_at(mount, "source");
            return source.starts_with('/') && source.ends_with("/userdata/hosts") ? source : "";
        }
    }
    return "";
}

}  // namespace

Result<Bundle> read_bundle(const OciState& state) {
    const std::string path = state.bundle + "/config.json";
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    json config;
    if (fd) {
        const std::string text = NK_TRY_CONTEXT(path, read_file(fd.get(), kMaxConfigBytes));
        config = json::parse(text, nullptr, /*allow_exceptions=*/false);
    }
    Bundle bundle{.root = state.root, .host_name = string_at(config, "hostname"), .hosts_file = hosts_file_in(config)};
    if (bundle.root.empty() && config.is_object() && config.contains("root")) {
        bundle.root = string_at(config["root"], "path");
        if (!bundle.root.empty() && !bundle.root.starts_with('/')) {
            bundle.root = formatted("{}/{}", state.bundle, bundle.root);
        }
    }
    if (!bundle.root.starts_with('/')) {
        return fail(ErrorKind::not_found, "neither the state nor {} says where its root file system is", quote(path));
    }
    return bundle;
}

}  // namespace netkitd::hook
