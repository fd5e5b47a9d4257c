// container-start DOOR COUNT [DAEMON-PID]: gives COUNT containers a network, one after the other, and takes it away
// again. A container here is a process in a network namespace of its own. DOOR is how:
//
//   netkitd-socket   netkitd, asked through its socket
//   netkitd-hook     netkitd, asked by the OCI hook: the program's whole life, as a container runtime waits for it
//   netavark-bridge  netavark, as Podman calls it for its default network
//   cni-bridge       the CNI plugin `bridge` with host-local addresses
//
// A line for each figure, "start/DOOR", name, value, tabs between: milliseconds a container, and with DAEMON-PID the
// memory that the process uses while all are there. What takes longer and longer with their number comes to an end:
// after two minutes of attaching, those that are there are all, and after as many of detaching, the rest is left.
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <sstream>

#include <nlohmann/json.hpp>

#include "base/format.h"
#include "base/parse_number.h"
#include "harness/process.h"
#include "ipc/client.h"

namespace netkitd::bench {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr auto kDeadline = 30s;
constexpr auto kLimit = 2min;
constexpr const char* kInterface = "eth0";

class Container {
public:
    explicit Container(int number) : number_(number), pid_(::fork()) {
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (::unshare(CLONE_NEWNET) == 0) {
                ::kill(::getpid(), SIGSTOP);
            }
            ::_exit(1);
        }
        int status = 0;
        ::waitpid(pid_, &status, WUNTRACED);
        alive_ = WIFSTOPPED(status);
    }
    ~Container() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    Container(const Container&) = delete;
    Container& operator=(const Container&) = delete;

    [[nodiscard]] bool alive() const { return alive_; }
    [[nodiscard]] int number() const { return number_; }
    [[nodiscard]] pid_t pid() const { return pid_; }
    [[nodiscard]] std::string id() const { return formatted("bench-{}", number_); }
    [[nodiscard]] std::string netns() const { return formatted("/proc/{}/ns/net", pid_); }

private:
    int number_;
    pid_t pid_;
    bool alive_ = false;
};

// What one step took, by the names of the figures.
using Figures = std::map<std::string, std::vector<double>>;
using Step = std::function<Result<void>(const Container&, Figures&)>;
struct Door {
    Step attach;
    Step detach;
};

Result<void> timed(Figures& figures, const std::string& name, const std::function<Result<void>()>& call) {
    const auto begin = Clock::now();
    Result<void> done = call();
    figures[name].push_back(Milliseconds(Clock::now() - begin).count());
    return done;
}

// --- netkitd ------------------------------------------------------------------------------------------------------

const std::map<std::string, std::string> kAnnotations{{"io.netkitd.network", "default"}};

Result<void> attach_by_socket(const Container& container, Figures& figures) {
    ipc::Request request;
    request.operation = ipc::Operation::attach;
    request.id = container.id();
    request.pid = container.pid();
    request.annotations = kAnnotations;
    request.netns = UniqueFd(::open(container.netns().c_str(), O_RDONLY | O_CLOEXEC));
    request.pidfd = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, container.pid(), 0)));
    return timed(figures, "attach", [&]() -> Result<void> {
        const json reply = NK_TRY(ipc::call(std::string(ipc::kDefaultSocketPath), request, kDeadline));
        figures["own"].push_back(reply.at("own_time_us").get<double>() / 1000);
        figures["kernel wait"].push_back(reply.at("kernel_wait_us").get<double>() / 1000);
        return {};
    });
}

Result<void> detach_by_socket(const Container& container, Figures& figures) {
    return timed(figures, "detach", [&]() -> Result<void> {
        NK_TRY(ipc::call(std::string(ipc::kDefaultSocketPath),
                         {.operation = ipc::Operation::detach, .id = container.id()}, kDeadline));
        return {};
    });
}

// --- programs -----------------------------------------------------------------------------------------------------

Result<void> run(const test::ProcessRun& call) {
    const test::ProcessResult result = test::run_process(call);
    if (result.status != 0) {
        return fail(ErrorKind::internal, "{} ended with {}: {}{}", call.command.front(), result.status, result.output,
                    result.errors);
    }
    return {};
}

Step program(const std::string& name, const std::function<test::ProcessRun(const Container&)>& call_for) {
    return [=](const Container& container, Figures& figures) {
        const test::ProcessRun call = call_for(container);
        return timed(figures, name, [&] { return run(call); });
    };
}

test::ProcessRun hook(const std::string& stage, const Container& container) {
    const json state{{"ociVersion", "1.2.0"}, {"id", container.id()}, {"pid", container.pid()},
                     {"bundle", "/"},         {"status", "creating"}, {"annotations", kAnnotations}};
    return {.command = {"/usr/libexec/netkitd/netkit-hook", stage}, .input = state.dump()};
}

// Podman gives out the addresses itself, and names them to netavark.
test::ProcessRun netavark(const std::string& action, const Container& container) {
    const json subnet{{"subnet", "10.88.0.0/16"}, {"gateway", "10.88.0.1"}};
    const json network{{"name", "podman"},
                       {"id", "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9"},
                       {"driver", "bridge"},
                       {"network_interface", "podman0"},
                       {"subnets", {subnet}},
                       {"ipv6_enabled", false},
                       {"internal", false},
                       {"dns_enabled", false},
                       {"ipam_options", {{"driver", "host-local"}}}};
    const std::string address = formatted("10.88.{}.{}", 1 + container.number() / 250, 1 + container.number() % 250);
    const json options{{"interface_name", kInterface}, {"static_ips", {address}}};
    const json input{{"container_id", container.id()},
                     {"container_name", container.id()},
                     {"networks", {{"podman", options}}},
                     {"network_info", {{"podman", network}}}};
    return {.command = {"/usr/lib/podman/netavark", "--config", "/run/containers/networks", action, container.netns()},
            .input = input.dump(),
            .environment = {"PATH=/usr/sbin:/usr/bin"}};
}

test::ProcessRun cni(const std::string& command, const Container& container) {
    const json range{{"subnet", "10.89.0.0/16"}};
    const json input{{"cniVersion", "1.0.0"},
                     {"name", "bench"},
                     {"type", "bridge"},
                     {"bridge", "cni0"},
                     {"isGateway", true},
                     {"ipMasq", true},
                     {"ipMasqBackend", "nftables"},
                     {"ipam", {{"type", "host-local"}, {"ranges", {{range}}}, {"routes", {{{"dst", "0.0.0.0/0"}}}}}}};
    return {.command = {"/usr/lib/cni/bridge"},
            .input = input.dump(),
            .environment = {"PATH=/usr/sbin:/usr/bin", "CNI_PATH=/usr/lib/cni", "CNI_COMMAND=" + command,
                            "CNI_CONTAINERID=" + container.id(), "CNI_NETNS=" + container.netns(),
                            formatted("CNI_IFNAME={}", kInterface)}};
}

std::map<std::string, Door> doors() {
    using std::placeholders::_1;
    return {{"netkitd-socket", {attach_by_socket, detach_by_socket}},
            {"netkitd-hook",
             {program("attach", std::bind_front(hook, "createRuntime")),
              program("detach", std::bind_front(hook, "poststop"))}},
            {"netavark-bridge",
             {program("attach", std::bind_front(netavark, "setup")),
              program("detach", std::bind_front(netavark, "teardown"))}},
            {"cni-bridge",
             {program("attach", std::bind_front(cni, "ADD")), program("detach", std::bind_front(cni, "DEL"))}}};
}

// --- figures ------------------------------------------------------------------------------------------------------

void print(std::string_view door, std::string_view name, double value) {
    std::puts(formatted("start/{}\t{}\t{:.3f}", door, name, value).c_str());
}

// The smallest value that this part of all are not above.
double percentile(std::vector<double> values, double part) {
    const auto rank = static_cast<std::ptrdiff_t>(part * static_cast<double>(values.size() - 1));
    std::ranges::nth_element(values, values.begin() + rank);
    return values[static_cast<std::size_t>(rank)];
}

void print(std::string_view door, const Figures& figures) {
    for (const auto& [name, values] : figures) {
        print(door, name + " p50 ms", percentile(values, 0.50));
        print(door, name + " p99 ms", percentile(values, 0.99));
    }
}

// proc_pid_smaps(5): "Rss:   1234 kB"
void print_memory(std::string_view door, const std::string& pid) {
    std::ifstream file("/proc/" + pid + "/smaps_rollup");
    std::string name;
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        double kib = 0;
        words >> name >> kib;
        if (name == "Rss:" || name == "Pss:") {
            print(door, name == "Rss:" ? "RSS MiB" : "PSS MiB", kib / 1024);
        }
    }
}

Result<void> measure(const std::string& name, const Door& door, int count, const std::string& daemon) {
    std::vector<std::unique_ptr<Container>> containers;
    Figures attached;
    Figures detached;
    auto begin = Clock::now();
    for (int number = 1; number <= count && Clock::now() - begin < kLimit; number++) {
        const auto& container = containers.emplace_back(std::make_unique<Container>(number));
        if (!container->alive()) {
            return fail(ErrorKind::internal, "cannot make a network namespace: run as root");
        }
        NK_TRY(door.attach(*container, attached));
    }
    print(name, "containers", static_cast<double>(containers.size()));
    print(name, attached);
    if (!daemon.empty()) {
        print_memory(name, daemon);
    }
    begin = Clock::now();
    for (const auto& container : containers) {
        if (Clock::now() - begin >= kLimit) {
            break;
        }
        NK_TRY(door.detach(*container, detached));
    }
    print(name, detached);
    return {};
}

}  // namespace
}  // namespace netkitd::bench

int main(int argc, char** argv) {
    using namespace netkitd::bench;
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    const auto all = doors();
    const auto count = netkitd::parse_number<unsigned>(arguments.size() > 1 ? arguments[1] : "", 1, INT_MAX);
    if (!count || !all.contains(arguments[0])) {
        std::fputs("usage: container-start DOOR COUNT [DAEMON-PID]\n", stderr);
        return 2;
    }
    const auto done =
        measure(arguments[0], all.at(arguments[0]), static_cast<int>(*count), arguments.size() > 2 ? arguments[2] : "");
    if (!done) {
        std::fprintf(stderr, "container-start: %s\n", done.error().message().c_str());
        return 1;
    }
    return 0;
}
