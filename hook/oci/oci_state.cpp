#include "oci/oci_state.h"

#include <array>
#include <bitset>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/annotation_prefix.h"
#include "base/quote.h"
#include "ipc/protocol.h"

namespace netkitd::hook {
namespace {

using nlohmann::json;

// The state itself is two levels deep; this leaves room for what a runtime may add.
constexpr std::size_t kMaxDepth = 32;

enum class Field : std::size_t { id, pid, status, bundle, root, annotations, foreign };
constexpr std::array<std::string_view, 6> kFieldNames{"id", "pid", "status", "bundle", "root", "annotations"};

Field field_named(std::string_view name) {
    for (std::size_t i = 0; i < kFieldNames.size(); ++i) {
        if (kFieldNames.at(i) == name) {
            return static_cast<Field>(i);
        }
    }
    return Field::foreign;
}

// Takes what it knows as the parser goes by. Each handler returns false to stop the parser; problem_ then says why.
class StateReader final : public nlohmann::json_sax<json> {
public:
    bool null() override { return scalar({.is_null = true}); }
    bool boolean(bool /*value*/) override { return scalar({}); }
    bool number_integer(number_integer_t value) override { return scalar({.number = value}); }
    bool number_unsigned(number_unsigned_t value) override {
        return value <= INT64_MAX ? scalar({.number = static_cast<std::int64_t>(value)}) : scalar({});
    }
    bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { return scalar({}); }
    bool string(string_t& value) override { return scalar({.text = &value}); }
    bool binary(binary_t& /*value*/) override { return false; }

    bool start_object(std::size_t /*elements*/) override {
        if (depth_ == 0 || (depth_ == 1 && field_ == Field::annotations)) {
            ++depth_;
            return true;
        }
        return open();
    }
    bool start_array(std::size_t /*elements*/) override { return depth_ == 0 ? scalar({}) : open(); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }

    bool key(string_t& name) override {
        if (depth_ == 1) {
            field_ = field_named(name);
            if (field_ != Field::foreign && seen_.test(static_cast<std::size_t>(field_))) {
                return stop(formatted("{} is there twice", name));
            }
            seen_.set(static_cast<std::size_t>(field_));
        } else if (in_annotations()) {
            annotation_ = std::move(name);
        }
        return true;
    }

    bool parse_error(std::size_t position, const std::string& /*token*/, const json::exception& error) override {
        const bool encoding = std::string_view(error.what()).contains("UTF-8");
        return stop(formatted("not {} at byte {}", encoding ? "valid UTF-8" : "valid JSON", position));
    }

    [[nodiscard]] const std::string& problem() const { return problem_; }
    [[nodiscard]] OciState take() { return std::move(state_); }

private:
    struct Scalar {
        std::string* text = nullptr;
        std::optional<std::int64_t> number{};
        bool is_null = false;
    };

    bool stop(std::string problem) {
        problem_ = std::move(problem);
        return false;
    }

    [[nodiscard]] bool in_annotations() const { return depth_ == 2 && field_ == Field::annotations; }

    // An array or object in a place where netkitd reads nothing, or else a scalar.
    bool open() {
        if ((depth_ == 1 || in_annotations()) && !scalar({})) {
            return false;
        }
        if (depth_ >= kMaxDepth) {
            return stop(formatted("nested deeper than {} levels", kMaxDepth));
        }
        ++depth_;
        return true;
    }

    bool close() {
        --depth_;
        return true;
    }

    bool scalar(const Scalar& value) {
        if (depth_ == 0) {
            return stop("not a JSON object");
        }
        if (depth_ == 1) {
            return take_field(value);
        }
        return !in_annotations() || take_annotation(value);
    }

    bool take_field(const Scalar& value) {
        switch (field_) {
            case Field::id:
                return take_text(value, state_.id);
            case Field::status:
                return take_text(value, state_.status);
            case Field::pid:
                return take_pid(value);
            case Field::bundle:
                return take_text(value, state_.bundle);
            case Field::root:
                if (value.text != nullptr) {
                    state_.root = std::move(*value.text);
                }
                return true;  // not of the specification: a runtime may have anything there
            case Field::annotations:
                // Go writes a map that was never made as null.
                return value.is_null || stop("annotations is not an object");
            case Field::foreign:
                return true;
        }
        return true;
    }

    bool take_text(const Scalar& value, std::string& target) {
        if (value.text == nullptr) {
            return stop(formatted("{} is not a string", kFieldNames.at(static_cast<std::size_t>(field_))));
        }
        target = std::move(*value.text);
        return true;
    }

    bool take_pid(const Scalar& value) {
        if (!value.number || *value.number < 0 || *value.number > INT32_MAX) {
            return stop("pid is not a process id");
        }
        state_.pid = static_cast<std::int32_t>(*value.number);
        return true;
    }

    bool take_annotation(const Scalar& value) {
        if (!annotation_.starts_with(kAnnotationPrefix)) {
            return true;
        }
        if (value.text == nullptr) {
            return stop(formatted("annotation {} is not a string", quote(annotation_)));
        }
        if (state_.annotations.size() == ipc::kMaxAnnotations) {
            return stop(formatted("more than {} annotations {}*", ipc::kMaxAnnotations, kAnnotationPrefix));
        }
        if (annotation_.size() + value.text->size() > ipc::kMaxAnnotationBytes) {
            return stop(
                formatted("annotation {} is longer than {} bytes", quote(annotation_), ipc::kMaxAnnotationBytes));
        }
        if (!state_.annotations.emplace(annotation_, std::move(*value.text)).second) {
            return stop(formatted("annotation {} is there twice", quote(annotation_)));
        }
        return true;
    }

    OciState state_;
    std::size_t depth_ = 0;
    Field field_ = Field::foreign;
    std::bitset<kFieldNames.size() + 1> seen_;
    std::string annotation_;
    std::string problem_;
};

}  // namespace

Result<OciState> parse_oci_state(std::string_view text) {
    if (text.empty()) {
        return fail(ErrorKind::invalid,
                    "there is no OCI state on stdin: netkit-hook is started by a container runtime");
    }
    // nlohmann's parser takes a NUL byte for the end of the text, and what follows would pass unread.
    if (const auto nul = text.find('\0'); nul != std::string_view::npos) {
        return fail(ErrorKind::invalid, "the OCI state on stdin: not valid JSON at byte {}: a NUL byte", nul + 1);
    }
    StateReader reader;
    if (!json::sax_parse(text, &reader)) {
        return fail(ErrorKind::invalid, "the OCI state on stdin: {}", reader.problem());
    }
    OciState state = reader.take();
    if (state.id.empty()) {
        return fail(ErrorKind::invalid, "the OCI state on stdin: the container's id is missing");
    }
    return state;
}

}  // namespace netkitd::hook
