#include "netkitctl/reply.h"

#include "base/join.h"

namespace netkitd::ctl {
namespace {

using nlohmann::json;

const json* find(const json& object, std::string_view key) {
    if (!object.is_object()) {
        return nullptr;
    }
    const auto found = object.find(key);
    return found == object.end() ? nullptr : &*found;
}

std::string to_text(const json& value) {
    if (value.is_string()) {
        return value.get<std::string>();
    }
    if (value.is_boolean()) {
        return value.get<bool>() ? "yes" : "no";
    }
    if (!value.is_array()) {
        return value.is_null() ? "" : value.dump(-1, ' ', false, json::error_handler_t::replace);
    }
    return join(value, to_text);
}

}  // namespace

std::string text_at(const json& object, std::string_view key) {
    const json* const value = find(object, key);
    const std::string text = value == nullptr ? "" : to_text(*value);
    return text.empty() ? "-" : text;
}

std::uint64_t number_at(const json& object, std::string_view key) {
    const json* const value = find(object, key);
    const bool whole = value != nullptr && value->is_number_integer();
    return whole && (value->is_number_unsigned() || value->get<std::int64_t>() >= 0) ? value->get<std::uint64_t>() : 0;
}

bool is_true(const json& object, std::string_view key) {
    const json* const value = find(object, key);
    return value != nullptr && value->is_boolean() && value->get<bool>();
}

const json& object_at(const json& object, std::string_view key) {
    static const json kEmpty = json::object();
    const json* const value = find(object, key);
    return value != nullptr && value->is_object() ? *value : kEmpty;
}

const json& array_at(const json& object, std::string_view key) {
    static const json kEmpty = json::array();
    const json* const value = find(object, key);
    return value != nullptr && value->is_array() ? *value : kEmpty;
}

}  // namespace netkitd::ctl
