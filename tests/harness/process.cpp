#include "harness/process.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <stdexcept>
#include <thread>

#include "base/unique_fd.h"

namespace netkitd::test {
namespace {

std::string content(int fd) {
    std::string text;
    std::array<char, 4096> chunk{};
    for (ssize_t count = 0; (count = ::pread(fd, chunk.data(), chunk.size(), static_cast<off_t>(text.size()))) > 0;) {
        text.append(chunk.data(), static_cast<std::size_t>(count));
    }
    return text;
}

// In a thread: a blocked SIGPIPE is that thread's alone, and becomes EPIPE.
bool write_input(int fd, const std::string& input) {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &mask, nullptr);
    std::size_t written = 0;
    while (written < input.size()) {
        const ssize_t count = ::write(fd, input.data() + written, input.size() - written);
        if (count <= 0) {
            return false;
        }
        written += static_cast<std::size_t>(count);
    }
    return true;
}

// As execve(2) takes them; it changes nothing.
std::vector<char*> pointers(const std::vector<std::string>& strings) {
    std::vector<char*> all;
    all.reserve(strings.size() + 1);
    for (const std::string& string : strings) {
        all.push_back(const_cast<char*>(string.c_str()));  // NOLINT(cppcoreguidelines-pro-type-const-cast)
    }
    all.push_back(nullptr);
    return all;
}

[[noreturn]] void become(const ProcessRun& run, int input, int output, int errors) {
    const std::vector<char*> arguments = pointers(run.command);
    const std::vector<char*> environment = pointers(run.environment);
    if (run.prepare() && ::dup2(input, 0) == 0 && ::dup2(output, 1) == 1 && ::dup2(errors, 2) == 2) {
        ::execve(arguments.front(), arguments.data(), environment.data());
    }
    ::_exit(127);
}

}  // namespace

ProcessResult run_process(const ProcessRun& run) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        throw std::runtime_error("pipe");
    }
    UniqueFd reader(ends[0]);
    UniqueFd writer(ends[1]);
    const UniqueFd output(::memfd_create("stdout", MFD_CLOEXEC));
    const UniqueFd errors(::memfd_create("stderr", MFD_CLOEXEC));
    const pid_t child = ::fork();
    if (child < 0) {
        throw std::runtime_error("fork");
    }
    if (child == 0) {
        become(run, reader.get(), output.get(), errors.get());
    }
    reader.reset();
    ProcessResult result;
    std::jthread feeder([&] {
        result.input_taken = write_input(writer.get(), run.input);
        if (run.end_input) {
            writer.reset();
        }
    });
    int status = 0;
    ::waitpid(child, &status, 0);
    feeder.join();
    result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    result.output = content(output.get());
    result.errors = content(errors.get());
    return result;
}

}  // namespace netkitd::test
