// Strict reading of the configuration's JSON: comments allowed, no duplicate or unknown key, no wrong type.
//
// Not ipc/strict_json: a file that people edit has comments, its networks have an order, and an error in it has a line.
// Errors name the key by its dotted path ("networks.web.mtu"); the caller adds the file.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace netkitd {

using ConfigJson = nlohmann::ordered_json;  // keeps the order of the file

[[nodiscard]] Result<ConfigJson> parse_config_json(std::string_view text);

// A view of an object that is known to have no other keys than the caller's.
class ConfigObject {
public:
    // `path` is empty for the whole file.
    [[nodiscard]] static Result<ConfigObject> of(const ConfigJson& value, std::string path,
                                                 std::initializer_list<std::string_view> keys);

    // Null when the key is not there.
    [[nodiscard]] const ConfigJson* find(std::string_view key) const;
    // "networks.web.mtu"
    [[nodiscard]] std::string path_of(std::string_view key) const;

    // Of what a later version will have.
    [[nodiscard]] Result<void> refuse_unsupported(std::string_view key) const;

    [[nodiscard]] Result<std::optional<bool>> boolean(std::string_view key) const;
    [[nodiscard]] Result<std::optional<std::string>> string(std::string_view key) const;
    [[nodiscard]] Result<std::optional<std::uint32_t>> number(std::string_view key, std::uint32_t least,
                                                              std::uint32_t most) const;
    [[nodiscard]] Result<std::vector<std::string>> strings(std::string_view key) const;

private:
    ConfigObject(const ConfigJson& object, std::string path) : object_(&object), path_(std::move(path)) {}
    const ConfigJson* object_;
    std::string path_;
};

}  // namespace netkitd
