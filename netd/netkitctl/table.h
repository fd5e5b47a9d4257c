// Columns that line up, for people.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace netkitd::ctl {

// Control characters replaced: what a daemon or a file says must not act on the terminal.
[[nodiscard]] std::string printable(std::string_view text);

class Table {
public:
    // Without a header the table is a list of names and values. A column whose header begins with '>' is aligned right.
    Table() = default;
    Table(std::initializer_list<std::string_view> header);

    void add(std::vector<std::string> row);
    [[nodiscard]] bool empty() const { return rows_.empty(); }
    // Each line ends with a newline and begins with `indent`.
    [[nodiscard]] std::string to_string(std::string_view indent = "") const;

private:
    std::vector<std::string> header_;
    std::vector<bool> right_;
    std::vector<std::vector<std::string>> rows_;
};

}  // namespace netkitd::ctl
