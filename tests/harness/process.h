// Runs a program as another program would: with a pipe as its stdin and no environment but what is given.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace netkitd::test {

struct ProcessRun {
    std::vector<std::string> command;
    std::string input{};
    std::vector<std::string> environment{};
    // False: the writing side of stdin stays open until the program has ended.
    bool end_input = true;
    // In the child, before the program starts; false fails the start with status 127.
    std::function<bool()> prepare = [] { return true; };
};

struct ProcessResult {
    int status = -1;     // exit status, 128 + n for signal n, as a shell shows it
    bool input_taken{};  // all of the input was read
    std::string output;
    std::string errors;
};

[[nodiscard]] ProcessResult run_process(const ProcessRun& run);

}  // namespace netkitd::test
