#include "harness/daemon_test.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "harness/wait.h"
#include "ipc/client.h"

namespace netkitd::test {
namespace {

using nlohmann::json;

pid_t fork_bound_to_us() {
    const pid_t child = ::fork();
    if (child < 0) {
        throw std::runtime_error("fork");
    }
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    return child;
}

}  // namespace

ContainerProcess::ContainerProcess() {
    netns_.inside([this] {
        pid_ = fork_bound_to_us();
        if (pid_ == 0) {
            // No descriptor of ours: one of another container's netns would keep that alive.
            ::close_range(0, ~0U, 0);
            for (;;) {
                ::pause();
            }
        }
    });
}

ContainerProcess::~ContainerProcess() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
}

void DaemonTest::SetUp() {
    HostTest::SetUp();
    if (!IsSkipped()) {
        std::filesystem::create_directory(scratch("state"));
    }
}

void DaemonTest::TearDown() {
    if (daemon_ != 0) {
        stop(SIGTERM);
    }
    if (HasFailure()) {
        std::istringstream lines(log());
        std::vector<std::string> all;
        for (std::string line; std::getline(lines, line);) {
            all.push_back(line);
        }
        constexpr std::size_t kShown = 40;
        for (std::size_t i = all.size() > kShown ? all.size() - kShown : 0; i < all.size(); ++i) {
            std::printf("netkitd: %s\n", all[i].c_str());
        }
    }
    HostTest::TearDown();
}

void DaemonTest::launch() {
    const std::string socket = scratch("netkitd.sock");
    const std::string store = scratch("state/state.db");
    const std::string config = scratch("netkitd.json");
    if (!std::ifstream(config)) {
        std::ofstream(config) << "{}";
    }
    const UniqueFd output(::open(scratch("log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    daemon_ = fork_bound_to_us();
    if (daemon_ == 0) {
        if (!output || ::dup2(output.get(), STDOUT_FILENO) < 0 || ::dup2(output.get(), STDERR_FILENO) < 0) {
            ::_exit(126);
        }
        ::execl(program_.c_str(), "netkitd", "--config", config.c_str(), "--socket", socket.c_str(), "--bpffs",
                bpffs().c_str(), "--store", store.c_str(), nullptr);
        ::_exit(127);
    }
}

bool DaemonTest::start() {
    launch();
    return eventually([this] { return call({.operation = ipc::Operation::endpoint_list}).has_value(); });
}

void DaemonTest::signal(int signal) const {
    ::kill(daemon_, signal);
}

void DaemonTest::purge() const {
    node().run(formatted("{} --purge --force --config {} --bpffs {} --store {} --socket {}", NETKITD_PROGRAM,
                         scratch("netkitd.json"), bpffs().string(), scratch("state/state.db"),
                         scratch("netkitd.sock")));
}

void DaemonTest::stop(int signal) {
    ASSERT_GT(daemon_, 0) << "it does not run";  // kill(0) would be to the tests themselves
    this->signal(signal);
    int status = 0;
    ::waitpid(daemon_, &status, 0);
    daemon_ = 0;
    if (signal == SIGTERM) {
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "its status is " << status << "\n" << log();
    }
}

std::optional<int> DaemonTest::own_end() {
    int status = 0;
    if (!eventually([&] { return ::waitpid(daemon_, &status, WNOHANG) == daemon_; })) {
        return std::nullopt;
    }
    daemon_ = 0;
    return WIFEXITED(status) ? std::optional(WEXITSTATUS(status)) : std::nullopt;
}

Result<json> DaemonTest::call(const ipc::Request& request, std::chrono::milliseconds deadline) const {
    return ipc::call(scratch("netkitd.sock"), request, deadline);
}

Result<json> DaemonTest::attach(const ContainerProcess& container, const std::string& id,
                                std::map<std::string, std::string> annotations) const {
    annotations.emplace("io.netkitd.network", "default");
    return call({.operation = ipc::Operation::attach,
                 .id = id,
                 .pid = container.pid(),
                 .annotations = std::move(annotations),
                 .netns = UniqueFd(::dup(container.netns().fd())),
                 .pidfd = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, container.pid(), 0)))});
}

Result<json> DaemonTest::detach(const std::string& id) const {
    return call({.operation = ipc::Operation::detach, .id = id});
}

json DaemonTest::status() const {
    return call({.operation = ipc::Operation::status}).value();
}

std::vector<std::string> DaemonTest::degraded() const {
    return status().at("degraded").get<std::vector<std::string>>();
}

json DaemonTest::endpoints() const {
    return call({.operation = ipc::Operation::endpoint_list}).value().at("endpoints");
}

std::uint64_t DaemonTest::counted(std::string_view name) const {
    const nlohmann::json now = status();
    for (const auto& counter : now.at("counters")) {
        if (counter.at("name") == name) {
            return counter.at("packets").get<std::uint64_t>();
        }
    }
    ADD_FAILURE() << "no counter " << name;
    return 0;
}

std::set<std::string> DaemonTest::uplinks() const {
    std::set<std::string> names;
    const json now = status();
    for (const json& uplink : now.at("uplinks")) {
        names.insert(uplink.at("name").get<std::string>());
    }
    return names;
}

bool DaemonTest::comes_to_be_an_uplink(const std::string& name) const {
    return eventually([&] { return uplinks().contains(name); });
}

std::string DaemonTest::log() const {
    return (std::ostringstream() << std::ifstream(scratch("log")).rdbuf()).str();
}

}  // namespace netkitd::test
