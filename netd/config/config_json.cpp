#include "config/config_json.h"

#include <algorithm>
#include <ranges>
#include <set>

#include "base/join.h"
#include "base/quote.h"

namespace netkitd {
namespace {

// networks → its name → the key → an array: the deepest that means anything.
constexpr std::size_t kMaxDepth = 4;

// Notes the first thing that JSON allows and we do not.
class Watch {
public:
    // As nlohmann's parser callback: `depth` counts the containers around the event, false drops the value.
    bool operator()(int depth, nlohmann::detail::parse_event_t event, const ConfigJson& parsed) {
        using Event = nlohmann::detail::parse_event_t;
        const auto level = static_cast<std::size_t>(depth);
        if (event == Event::object_start || event == Event::array_start) {
            if (level >= kMaxDepth) {
                note(formatted("{}: nested deeper than {} levels", path(), kMaxDepth));
                return false;
            }
            open_.resize(level);
            open_.emplace_back();
        } else if (event == Event::key && level <= open_.size()) {
            open_.resize(level);
            open_.back().key = parsed.get<std::string>();
            if (!open_.back().seen.insert(open_.back().key).second) {
                note(formatted("{}: this key is there twice", path()));
            }
        }
        return problem_.empty();
    }
    [[nodiscard]] const std::string& problem() const { return problem_; }

private:
    struct Container {
        std::set<std::string> seen;
        std::string key;  // the one being read
    };
    [[nodiscard]] std::string path() const {
        const auto has_key = [](const Container& container) { return !container.key.empty(); };
        return quote(join(open_ | std::views::filter(has_key), &Container::key, "."));
    }
    void note(std::string problem) {
        if (problem_.empty()) {
            problem_ = std::move(problem);
        }
    }
    std::vector<Container> open_;
    std::string problem_;
};

// "line 3, column 7" of a byte of the text, both counted from 1.
std::string position(std::string_view text, std::size_t byte) {
    const std::string_view before = text.substr(0, byte > 0 ? byte - 1 : 0);
    const auto line = std::ranges::count(before, '\n') + 1;
    const auto line_start = before.rfind('\n');
    return formatted("line {}, column {}", line,
                     line_start == std::string_view::npos ? before.size() + 1 : before.size() - line_start);
}

// nlohmann's "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while …" from "syntax" on.
std::string reason(const ConfigJson::parse_error& error) {
    const std::string_view what = error.what();
    const auto start = what.find(": ");
    std::string text(start == std::string_view::npos ? what : what.substr(start + 2));
    std::ranges::replace_if(text, [](char c) { return c < ' ' || c > '~'; }, '?');
    constexpr std::size_t kMaxReason = 200;  // it quotes the offending token, however long
    return text.size() > kMaxReason ? text.substr(0, kMaxReason) + "…" : text;
}

std::unexpected<Error> wrong_type(std::string_view path, const ConfigJson& value, std::string_view wanted) {
    return fail(ErrorKind::invalid, "{}: must be {}, not {}", path, wanted, value.type_name());
}

}  // namespace

Result<ConfigJson> parse_config_json(std::string_view text) {
    if (const auto nul = text.find('\0'); nul != std::string_view::npos) {
        return fail(ErrorKind::invalid, "{}: a NUL byte", position(text, nul + 1));
    }
    Watch watch;
    try {
        ConfigJson json = ConfigJson::parse(
            text, [&](int depth, auto event, ConfigJson& parsed) { return watch(depth, event, parsed); },
            /*allow_exceptions=*/true, /*ignore_comments=*/true);
        if (!watch.problem().empty()) {
            return fail(ErrorKind::invalid, "{}", watch.problem());
        }
        return json;
    } catch (const ConfigJson::parse_error& error) {
        return fail(ErrorKind::invalid, "{}: {}", position(text, error.byte), reason(error));
    } catch (const ConfigJson::exception& error) {
        return fail(ErrorKind::invalid, "not usable JSON: {}", quote(error.what()));  // a number out of range
    }
}

Result<ConfigObject> ConfigObject::of(const ConfigJson& value, std::string path,
                                      std::initializer_list<std::string_view> keys) {
    if (!value.is_object()) {
        return wrong_type(path.empty() ? "the file" : path, value, "an object ({…})");
    }
    for (const auto& item : value.items()) {
        if (!std::ranges::contains(keys, std::string_view(item.key()))) {
            return fail(ErrorKind::invalid, "{}{}: no such key; there are {}", path.empty() ? "" : path + ".",
                        quote(item.key()), join(keys));
        }
    }
    return ConfigObject(value, std::move(path));
}

const ConfigJson* ConfigObject::find(std::string_view key) const {
    const auto found = object_->find(key);
    return found == object_->end() ? nullptr : &*found;
}

std::string ConfigObject::path_of(std::string_view key) const {
    return path_.empty() ? std::string(key) : formatted("{}.{}", path_, key);
}

Result<void> ConfigObject::refuse_unsupported(std::string_view key) const {
    return find(key) == nullptr
               ? Result<void>()
               : fail(ErrorKind::invalid, "{}: not supported by this version yet; remove it", path_of(key));
}

Result<std::optional<bool>> ConfigObject::boolean(std::string_view key) const {
    const ConfigJson* const value = find(key);
    if (value == nullptr) {
        return std::nullopt;
    }
    if (!value->is_boolean()) {
        return wrong_type(path_of(key), *value, "true or false");
    }
    return value->get<bool>();
}

Result<std::optional<std::string>> ConfigObject::string(std::string_view key) const {
    const ConfigJson* const value = find(key);
    if (value == nullptr) {
        return std::nullopt;
    }
    if (!value->is_string()) {
        return wrong_type(path_of(key), *value, "a string");
    }
    return value->get<std::string>();
}

Result<std::optional<std::uint32_t>> ConfigObject::number(std::string_view key, std::uint32_t least,
                                                          std::uint32_t most) const {
    const ConfigJson* const value = find(key);
    if (value == nullptr) {
        return std::nullopt;
    }
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() < least || value->get<std::uint64_t>() > most) {
        return fail(ErrorKind::invalid, "{}: must be a whole number from {} to {}", path_of(key), least, most);
    }
    return value->get<std::uint32_t>();
}

Result<std::vector<std::string>> ConfigObject::strings(std::string_view key) const {
    const ConfigJson* const value = find(key);
    if (value == nullptr) {
        return std::vector<std::string>();
    }
    if (!value->is_array()) {
        return wrong_type(path_of(key), *value, "an array of strings");
    }
    std::vector<std::string> result;
    for (const ConfigJson& element : *value) {
        if (!element.is_string()) {
            return wrong_type(formatted("{}[{}]", path_of(key), result.size()), element, "a string");
        }
        result.push_back(element.get<std::string>());
    }
    return result;
}

}  // namespace netkitd
