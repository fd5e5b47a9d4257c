#include "config/config.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>

#include "abi.h"
#include "base/parse_number.h"
#include "base/quote.h"
#include "config/config_json.h"
#include "config/names.h"
#include "config/read_masquerade.h"
#include "config/read_networks.h"
#include "config/read_services.h"

namespace netkitd {
namespace {

constexpr std::size_t kMaxConfigBytes = 1024UL * 1024;

Result<std::vector<std::string>> read_uplinks(const ConfigObject& top) {
    std::vector<std::string> uplinks = NK_TRY(top.strings("uplinks"));
    if (uplinks.size() > NK_MAX_UPLINKS) {
        return fail(ErrorKind::invalid, "uplinks: {} devices; at most {} are possible", uplinks.size(), NK_MAX_UPLINKS);
    }
    for (auto name = uplinks.begin(); name != uplinks.end(); ++name) {
        NK_TRY_CONTEXT(formatted("uplinks[{}]", name - uplinks.begin()), check_interface_name(*name));
        if (std::find(uplinks.begin(), name, *name) != name) {
            return fail(ErrorKind::invalid, "uplinks: {} is there twice", *name);
        }
    }
    return uplinks;
}

Result<std::optional<link::DeviceMode>> read_device_mode(const ConfigObject& top) {
    const std::string text = NK_TRY(top.string("device_mode")).value_or("auto");
    if (text == "auto") {
        return std::nullopt;
    }
    const auto mode = link::parse_device_mode(text);
    if (!mode) {
        return fail(mode.error().kind(), "device_mode: {}, nor auto", mode.error().message());
    }
    return *mode;
}

Result<std::string> read_store(const ConfigObject& top, std::string default_path) {
    std::string path = NK_TRY(top.string("store")).value_or(std::move(default_path));
    if (!path.starts_with('/') || path.ends_with('/') || path.contains('\0')) {
        return fail(ErrorKind::invalid, "store: {} is not the absolute path of a file", quote(path));
    }
    return path;
}

Result<Config> read_config(std::string_view text) {
    if (text.size() > kMaxConfigBytes) {
        return fail(ErrorKind::invalid, "larger than {} bytes", kMaxConfigBytes);
    }
    const ConfigJson json = NK_TRY(parse_config_json(text));
    const ConfigObject top = NK_TRY(ConfigObject::of(
        json, "", {"networks", "uplinks", "device_mode", "masquerade", "services", "big_tcp", "store"}));
    Config config;
    NK_TRY(read_masquerade(top, config));
    config.networks = NK_TRY(read_networks(top, config.masquerade));
    config.uplinks = NK_TRY(read_uplinks(top));
    config.device_mode = NK_TRY(read_device_mode(top));
    NK_TRY(read_services(top, config));
    config.big_tcp = NK_TRY(top.boolean("big_tcp")).value_or(config.big_tcp);
    config.store = NK_TRY(read_store(top, config.store));
    return config;
}

}  // namespace

std::vector<IpPrefix> Config::prefixes() const {
    std::vector<IpPrefix> result;
    for (const NetworkConfig& network : networks) {
        std::ranges::copy(network.prefixes(), std::back_inserter(result));
    }
    return result;
}

const NetworkConfig* Config::find_network(std::string_view name) const {
    const auto found = std::ranges::find(networks, name, &NetworkConfig::name);
    return found == networks.end() ? nullptr : &*found;
}

Config default_config() {
    Config config;
    config.networks.push_back(default_network(config.masquerade));
    return config;
}

Result<Config> parse_config(std::string_view text, const std::string& path) {
    return with_context(read_config(text), path);
}

Result<Config> load_config(const std::string& path) {
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        const int error = errno;
        if (error == ENOENT) {
            return fail(ErrorKind::not_found, "{}: there is no such file", path);
        }
        return fail_errno(error, "open {}", path);
    }
    // One byte more than allowed is enough to be refused.
    std::string text(kMaxConfigBytes + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (file.bad()) {
        return fail_errno(errno, "read {}", path);
    }
    text.resize(static_cast<std::size_t>(file.gcount()));
    return parse_config(text, path);
}

}  // namespace netkitd
