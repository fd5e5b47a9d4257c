#include "netkitctl/table.h"

#include <algorithm>

namespace netkitd::ctl {
namespace {

constexpr std::string_view kGap = "  ";

// In characters: the bytes that don't continue a UTF-8 sequence (RFC 3629, section 3).
std::size_t width(std::string_view text) {
    return static_cast<std::size_t>(
        std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
}

}  // namespace

std::string printable(std::string_view text) {
    std::string result(text);
    constexpr char kDelete = 0x7f;
    std::ranges::replace_if(result, [](char c) { return (c >= 0 && c < ' ') || c == kDelete; }, '?');
    return result;
}

Table::Table(std::initializer_list<std::string_view> header) {
    for (const std::string_view name : header) {
        right_.push_back(name.starts_with('>'));
        header_.emplace_back(right_.back() ? name.substr(1) : name);
    }
}

void Table::add(std::vector<std::string> row) {
    std::ranges::transform(row, row.begin(), printable);
    rows_.push_back(std::move(row));
}

std::string Table::to_string(std::string_view indent) const {
    std::vector<std::vector<std::string>> lines = rows_;
    if (!header_.empty()) {
        lines.insert(lines.begin(), header_);
    }
    std::vector<std::size_t> widths;
    for (const auto& line : lines) {
        widths.resize(std::max(widths.size(), line.size()));
        for (std::size_t i = 0; i < line.size(); ++i) {
            widths[i] = std::max(widths[i], width(line[i]));
        }
    }
    std::string result;
    for (const auto& line : lines) {
        std::string text(indent);
        for (std::size_t i = 0; i < line.size(); ++i) {
            const std::string padding(widths[i] - width(line[i]), ' ');
            const bool right = i < right_.size() && right_[i];
            text += (i > 0 ? kGap : "");
            text += right ? padding + line[i] : line[i] + padding;
        }
        text.erase(text.find_last_not_of(' ') + 1);
        result += text + "\n";
    }
    return result;
}

}  // namespace netkitd::ctl
