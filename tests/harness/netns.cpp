#include "harness/netns.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "base/format.h"
#include "netlink/netns.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;

UniqueFd open_own_netns() {
    return UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

struct CommandResult {
    bool succeeded = false;
    std::string output;
};

CommandResult run_shell(const std::string& command) {
    FILE* pipe = ::popen(formatted("exec 2>&1; {}", command).c_str(), "re");
    if (pipe == nullptr) {
        throw std::system_error(errno, std::generic_category(), command);
    }
    CommandResult result;
    std::array<char, 4096> buffer{};
    while (const std::size_t size = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
        result.output.append(buffer.data(), size);
    }
    const int status = ::pclose(pipe);
    result.succeeded = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return result;
}

CommandResult run_shell_in(const NetworkNamespace& netns, const std::string& command) {
    CommandResult result;
    netns.inside([&] { result = run_shell(command); });
    return result;
}

std::string ping_once(std::chrono::seconds patience, const std::string& address, const std::string& from) {
    return formatted("ping -n -c 1 -W {} {} {}", patience.count(), from.empty() ? "" : "-I " + from, address);
}

}  // namespace

NetworkNamespace::NetworkNamespace() {
    int error = 0;
    std::thread([&] {
        error = ::unshare(CLONE_NEWNET) < 0 ? errno : 0;
        fd_ = open_own_netns();
    }).join();
    if (error != 0 || !fd_) {
        throw std::runtime_error(
            formatted("cannot make a network namespace: {}", std::generic_category().message(error)));
    }
}

std::string NetworkNamespace::path() const {
    return formatted("/proc/{}/fd/{}", ::getpid(), fd_.get());
}

void NetworkNamespace::inside(const std::function<void()>& function) const {
    const Result<void> done = link::in_netns(fd_.get(), [&]() -> Result<void> {
        function();
        return {};
    });
    if (!done) {
        throw std::runtime_error(done.error().message());
    }
}

std::string NetworkNamespace::run(const std::string& command) const {
    CommandResult result = run_shell_in(*this, command);
    EXPECT_TRUE(result.succeeded) << command << "\n" << result.output;
    return std::move(result.output);
}

void NetworkNamespace::await_address(const std::string& address) const {
    run(formatted("until ip -6 route get {} | grep -q ^local; do sleep 0.001; done", address));
}

bool NetworkNamespace::succeeds(const std::string& command) const {
    return run_shell_in(*this, command).succeeded;
}

bool NetworkNamespace::reaches(const std::string& address, const std::string& from) const {
    const auto ping = run_shell_in(*this, ping_once(10s, address, from));
    if (!ping.succeeded) {
        std::printf("%s\n", ping.output.c_str());
    }
    return ping.succeeded;
}

bool NetworkNamespace::cannot_reach(const std::string& address, const std::string& from) const {
    return !succeeds(ping_once(1s, address, from));
}

void connect(const NetworkNamespace& a, const std::string& name_a, const NetworkNamespace& b,
             const std::string& name_b) {
    a.run(formatted("ip link add {} type veth peer name {} netns {}", name_a, name_b, b.path()));
    // Without duplicate address detection: a host asks no neighbour before its own link-local address has passed it,
    // which takes a second or two, and what it has to send waits as long (ndisc_send_ns in net/ipv6/ndisc.c).
    for (const auto& [host, name] : {std::pair(&a, name_a), {&b, name_b}}) {
        host->run(formatted("echo 0 > /proc/sys/net/ipv6/conf/{0}/dad_transmits && ip link set {0} up", name));
    }
    // An end has its carrier when link watch has run; to ask for it runs it (link/readiness.cpp).
    a.run(formatted("ip link show {}", name_a));
    b.run(formatted("ip link show {}", name_b));
}

void NetnsTest::SetUp() {
    try {
        node_ = std::make_unique<NetworkNamespace>();
    } catch (const std::runtime_error& error) {
        GTEST_SKIP() << error.what() << " (run as root)";
    }
    home_ = open_own_netns();
    ASSERT_EQ(::setns(node_->fd(), CLONE_NEWNET), 0) << std::generic_category().message(errno);
    node_->run("ip link set lo up");
}

void NetnsTest::TearDown() {
    if (home_) {
        ASSERT_EQ(::setns(home_.get(), CLONE_NEWNET), 0) << std::generic_category().message(errno);
    }
    node_.reset();
}

}  // namespace netkitd::test
