// Reading the daemon's replies without trusting them: a daemon of another version may leave a key out.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace netkitd::ctl {

// The value as text: a string as it is, a number in decimal, a boolean as yes or no, an array's elements with commas,
// "-" for what is empty or not there.
[[nodiscard]] std::string text_at(const nlohmann::json& object, std::string_view key);
// 0 when it is not there or not a whole number ≥ 0.
[[nodiscard]] std::uint64_t number_at(const nlohmann::json& object, std::string_view key);
[[nodiscard]] bool is_true(const nlohmann::json& object, std::string_view key);
// The object, or the array's elements; empty when there is none.
[[nodiscard]] const nlohmann::json& object_at(const nlohmann::json& object, std::string_view key);
[[nodiscard]] const nlohmann::json& array_at(const nlohmann::json& object, std::string_view key);

}  // namespace netkitd::ctl
