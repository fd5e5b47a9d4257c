#include "ipc/strict_json.h"

#include <vector>

#include <nlohmann/json.hpp>

#include "base/quote.h"

namespace netkitd::ipc {
namespace {

using nlohmann::json;

// Builds the tree. Each handler returns false to stop the parser; problem_ then says why.
class TreeBuilder final : public nlohmann::json_sax<json> {
public:
    explicit TreeBuilder(std::size_t max_depth) : max_depth_(max_depth) {}

    bool null() override { return place(nullptr); }
    bool boolean(bool value) override { return place(value); }
    bool number_integer(number_integer_t value) override { return place(value); }
    bool number_unsigned(number_unsigned_t value) override { return place(value); }
    bool number_float(number_float_t value, const string_t& /*text*/) override { return place(value); }
    bool string(string_t& value) override { return place(std::move(value)); }
    bool binary(binary_t& /*value*/) override { return false; }

    bool start_object(std::size_t /*elements*/) override { return open(json::object()); }
    bool start_array(std::size_t /*elements*/) override { return open(json::array()); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }

    bool key(string_t& value) override {
        if (open_.back()->contains(value)) {
            problem_ = formatted("the key {} is there twice", quote(value));
            return false;
        }
        key_ = std::move(value);
        return true;
    }

    bool parse_error(std::size_t position, const std::string& /*token*/, const json::exception& error) override {
        const bool encoding = std::string_view(error.what()).contains("UTF-8");
        problem_ = formatted("not {} at byte {}", encoding ? "valid UTF-8" : "valid JSON", position);
        return false;
    }

    [[nodiscard]] const std::string& problem() const { return problem_; }
    [[nodiscard]] json take() { return std::move(root_); }

private:
    // Pointers in open_ stay good: a container grows only while it is the innermost one.
    json* insert(json value) {
        if (open_.empty()) {
            root_ = std::move(value);
            return &root_;
        }
        json& parent = *open_.back();
        if (parent.is_array()) {
            parent.push_back(std::move(value));
            return &parent.back();
        }
        json& slot = parent[key_];
        slot = std::move(value);
        return &slot;
    }

    bool place(json value) {
        insert(std::move(value));
        return true;
    }

    bool open(json container) {
        if (open_.size() >= max_depth_) {
            problem_ = formatted("nested deeper than {} levels", max_depth_);
            return false;
        }
        open_.push_back(insert(std::move(container)));
        return true;
    }

    bool close() {
        open_.pop_back();
        return true;
    }

    std::size_t max_depth_;
    json root_;
    std::vector<json*> open_;
    std::string key_;
    std::string problem_;
};

}  // namespace

Result<json> parse_strict_json(std::string_view text, std::size_t max_depth) {
    if (const auto nul = text.find('\0'); nul != std::string_view::npos) {
        return fail(ErrorKind::invalid, "not valid JSON at byte {}: a NUL byte", nul + 1);
    }
    TreeBuilder builder(max_depth);
    if (!json::sax_parse(text, &builder)) {
        return fail(ErrorKind::invalid, "{}", builder.problem());
    }
    return builder.take();
}

}  // namespace netkitd::ipc
