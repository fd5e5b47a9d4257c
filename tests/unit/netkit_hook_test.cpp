// The hook as a runtime starts it: a process with the state on stdin and an empty environment.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "harness/ipc.h"
#include "harness/process.h"
#include "harness/sanitized.h"
#include "ipc/socket_address.h"

namespace netkitd {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using test::is_sanitized;
using test::ProcessResult;
using test::ProcessRun;
using test::run_process;
using test::TestServer;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// What the daemon of the test has been asked.
struct Asked {
    ipc::Operation operation{};
    std::string id;
    std::int32_t pid = 0;
    std::map<std::string, std::string> annotations;
    ino_t netns = 0;
    std::string pidfd;
};

std::string fdinfo(int fd) {
    std::ifstream file("/proc/self/fdinfo/" + std::to_string(fd));
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

// A process that sleeps until the end of the test.
class Sleeper {
public:
    Sleeper() : pid_(::fork()) {
        if (pid_ == 0) {
            ::pause();
            ::_exit(0);
        }
    }
    ~Sleeper() { end(); }
    Sleeper(const Sleeper&) = delete;
    Sleeper& operator=(const Sleeper&) = delete;
    [[nodiscard]] pid_t pid() const { return pid_; }
    void kill() const { ::kill(pid_, SIGKILL); }
    void end() {
        if (pid_ > 0) {
            kill();
            ::waitpid(pid_, nullptr, 0);
            pid_ = -1;
        }
    }

private:
    pid_t pid_;
};

class HookTest : public ::testing::Test {
protected:
    Result<json> handle(const ipc::Request& request) {
        struct stat netns{};
        ::fstat(request.netns.get(), &netns);
        const std::scoped_lock lock(mutex_);
        asked_.push_back({request.operation, request.id, request.pid.value_or(0), request.annotations, netns.st_ino,
                          fdinfo(request.pidfd.get())});
        if (!refusal_.empty()) {
            return fail(ErrorKind::refused, "{}", refusal_);
        }
        return json{{"notes", notes_}};
    }

    [[nodiscard]] ProcessRun hook(std::string input, std::vector<std::string> arguments = {}) const {
        ProcessRun run{.command = {NETKIT_HOOK, "--socket", server_.path()}, .input = std::move(input)};
        run.command.insert(run.command.end(), arguments.begin(), arguments.end());
        return run;
    }

    static json state_of(pid_t pid) {
        return {{"ociVersion", "1.0.2"},
                {"id", "web"},
                {"pid", pid},
                {"status", "created"},
                {"bundle", "/"},
                {"annotations", {{"io.netkitd.network", "default"}, {"io.podman.x", "y"}}}};
    }

    std::vector<Asked> asked() {
        const std::scoped_lock lock(mutex_);
        return asked_;
    }
    // Status 1, one line on stderr, and the daemon was not asked.
    void expect_refused(const ProcessResult& result, const std::string& reason) {
        EXPECT_EQ(result.status, 1);
        EXPECT_THAT(result.errors, StartsWith("netkit-hook: "));
        EXPECT_THAT(result.errors, HasSubstr(reason));
        EXPECT_EQ(std::ranges::count(result.errors, '\n'), 1);
        EXPECT_TRUE(asked().empty());
    }

    std::mutex mutex_;
    std::vector<Asked> asked_;
    std::string refusal_;
    std::vector<std::string> notes_;
    TestServer server_{[this](const ipc::Request& request, const ipc::Peer&) { return handle(request); }};
};

TEST_F(HookTest, AttachesTheContainersNetnsAndProcess) {
    const Sleeper container;
    const auto result = run_process(hook(state_of(container.pid()).dump()));
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(result.errors, "");
    ASSERT_EQ(asked().size(), 1U);
    const Asked asked = this->asked().front();
    EXPECT_EQ(asked.operation, ipc::Operation::attach);
    EXPECT_EQ(asked.id, "web");
    EXPECT_EQ(asked.pid, container.pid());
    EXPECT_EQ(asked.annotations, (std::map<std::string, std::string>{{"io.netkitd.network", "default"}}));
    struct stat own{};
    ASSERT_EQ(::stat("/proc/self/ns/net", &own), 0);
    EXPECT_EQ(asked.netns, own.st_ino);
    EXPECT_THAT(asked.pidfd, HasSubstr(formatted("Pid:\t{}\n", container.pid())));
}

TEST_F(HookTest, DetachesAtPoststop) {
    for (const char* state :
         {R"({"id":"web","pid":0,"status":"stopped","root":"/run/crun/web"})", R"({"id":"web","status":"stopped"})"}) {
        const auto result = run_process(hook(state));
        EXPECT_EQ(result.status, 0) << result.errors;
    }
    ASSERT_EQ(asked().size(), 2U);
    EXPECT_EQ(asked().front().operation, ipc::Operation::stopped);
    EXPECT_EQ(asked().front().id, "web");
}

TEST_F(HookTest, TheStageCanBeAnArgument) {
    EXPECT_EQ(run_process(hook(R"({"id":"web"})", {"poststop"})).status, 0);
    ASSERT_EQ(asked().size(), 1U);
    EXPECT_EQ(asked().front().operation, ipc::Operation::stopped);
}

TEST_F(HookTest, TheDaemonsRefusalFailsTheStartAndIsShown) {
    refusal_ = "io.netkitd.mtu: 'x' is not a number";
    const Sleeper container;
    const auto result = run_process(hook(state_of(container.pid()).dump()));
    EXPECT_EQ(result.status, 1);
    EXPECT_EQ(result.errors, "netkit-hook: container 'web': io.netkitd.mtu: 'x' is not a number\n");
}

TEST_F(HookTest, ARefusalCannotWriteOnATerminal) {
    refusal_ = "a\x1b[2J\nforged line";
    const Sleeper container;
    const auto result = run_process(hook(state_of(container.pid()).dump()));
    EXPECT_EQ(result.errors, "netkit-hook: container 'web': a [2J forged line\n");
}

TEST_F(HookTest, MalformedStatesAreRefused) {
    expect_refused(run_process(hook("")), "there is no OCI state on stdin");
    expect_refused(run_process(hook("not json")), "not valid JSON at byte");
    expect_refused(run_process(hook("{\"id\":\"\xff\"}")), "not valid UTF-8");
    expect_refused(run_process(hook(R"({"id":"web","pid":)")), "not valid JSON");
    expect_refused(run_process(hook(std::string(10'000, '{'))), "not valid JSON");
    expect_refused(run_process(hook(R"({"id":"a","x":)" + std::string(10'000, '['))), "nested deeper than 32 levels");
    expect_refused(run_process(hook(R"({"id":"../../etc","status":"stopped"})")), "only letters, digits");
}

TEST_F(HookTest, AStateWithoutAProcessCantBeAttached) {
    expect_refused(run_process(hook(state_of(0).dump())), "names no process");
    json without_pid = state_of(0);
    without_pid.erase("pid");
    expect_refused(run_process(hook(without_pid.dump())), "names no process");
    expect_refused(run_process(hook(state_of(0).dump(), {"createRuntime"})), "names no process");
}

TEST_F(HookTest, WithoutTheAnnotationItSaysSo) {
    const Sleeper container;
    json state = state_of(container.pid());
    state.erase("annotations");
    expect_refused(run_process(hook(state.dump())),
                   "container 'web': the container has no annotation io.netkitd.network");
}

TEST_F(HookTest, AProcessThatIsGoneIsNotAttached) {
    Sleeper container;
    const std::string state = state_of(container.pid()).dump();
    const std::string reason = formatted("the container's process {} is gone", container.pid());
    container.kill();
    siginfo_t info{};
    ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(container.pid()), &info, WEXITED | WNOWAIT), 0);
    expect_refused(run_process(hook(state)), reason);  // a zombie still has its pid
    container.end();
    expect_refused(run_process(hook(state)), reason);
}

// crun writes with one blocking write and would die of SIGPIPE if the hook left early.
TEST_F(HookTest, TenMegabytesAreReadToTheEndAndRefused) {
    if (is_sanitized()) {
        GTEST_SKIP() << "the sanitizer reserves terabytes of addresses";
    }
    auto run = hook(R"({"id":"web","x":")" + std::string(10UL * 1024 * 1024, 'a') + "\"}");
    run.prepare = [] {
        const rlimit limit{.rlim_cur = 16UL * 1024 * 1024, .rlim_max = 16UL * 1024 * 1024};
        return ::setrlimit(RLIMIT_AS, &limit) == 0;
    };
    const auto result = run_process(run);
    EXPECT_TRUE(result.input_taken);
    expect_refused(result, "at most 1048576 are read");
}

TEST_F(HookTest, AMegabyteOfStateIsServed) {
    auto run = hook(R"({"id":"web","status":"stopped","x":")" + std::string(1000UL * 1000, 'a') + "\"}");
    EXPECT_EQ(run_process(run).status, 0);
}

TEST_F(HookTest, AStateThatDoesNotEndIsNotWaitedForLongerThanTheDeadline) {
    auto run = hook(R"({"id":"web",)", {"--deadline-ms", "200"});
    run.end_input = false;
    const auto begin = std::chrono::steady_clock::now();
    expect_refused(run_process(run), "did not finish writing the OCI state in time");
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 3s);
}

TEST_F(HookTest, WithoutADaemonItSaysHowToStartIt) {
    const Sleeper container;
    const auto result = run_process(
        {.command = {NETKIT_HOOK, "--socket", "/nonexistent/netkitd.sock"}, .input = state_of(container.pid()).dump()});
    expect_refused(result, "netkitd is not running (connect /nonexistent/netkitd.sock");
    EXPECT_THAT(result.errors, HasSubstr("systemctl start netkitd"));
}

TEST_F(HookTest, ADaemonThatDoesNotAnswerIsNotWaitedForLongerThanTheDeadline) {
    const test::TemporaryFolder folder;
    const std::string path = folder.path() / "netkitd.sock";
    const auto silent = ipc::ListenSocket::bind(path);
    ASSERT_TRUE(silent);
    const auto begin = std::chrono::steady_clock::now();
    const auto result = run_process({.command = {NETKIT_HOOK, "--socket", path, "--deadline-ms", "200"},
                                     .input = R"({"id":"web","status":"stopped"})"});
    expect_refused(result, "netkitd did not answer within");
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 3s);
}

TEST_F(HookTest, RootlessIsSaidClearly) {
    const Sleeper container;
    auto run = hook(state_of(container.pid()).dump());
    run.prepare = [] { return ::unshare(CLONE_NEWUSER) == 0; };
    const auto result = run_process(run);
    if (result.status == 127) {
        GTEST_SKIP() << "this kernel does not allow user namespaces";
    }
    expect_refused(result, "rootless containers can't be attached yet");
}

TEST_F(HookTest, AWrongCommandLineIsAUsageError) {
    for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--frobnicate"},
                                                      {"--socket"},
                                                      {"--deadline-ms", "soon"},
                                                      {"--deadline-ms", "0"},
                                                      {"--deadline-ms", "60001"},
                                                      {"prestart"},
                                                      {"poststop", "createRuntime"}}) {
        const auto result = run_process(hook("{}", arguments));
        EXPECT_EQ(result.status, 2) << arguments.front();
        EXPECT_THAT(result.errors, StartsWith("netkit-hook: ")) << arguments.front();
        EXPECT_THAT(result.errors, HasSubstr("'")) << "the word that is wrong is quoted";
    }
}

TEST_F(HookTest, ClosedStandardStreamsDoNotHarm) {
    auto run = hook("");
    run.command = {"/bin/sh", "-c", formatted("exec {} --socket {} <&- >&- 2>&-", NETKIT_HOOK, server_.path())};
    EXPECT_EQ(run_process(run).status, 1);
    EXPECT_TRUE(asked().empty());
}

// crun throws a hook's output away: what an administrator finds is in the journal, which reads /dev/log. This one is
// the hook's own, and the first line that it got.
class JournalTest : public HookTest {
protected:
    void SetUp() override {
        HookTest::SetUp();
        const auto address = ipc::SocketAddress::of_path(path_);
        ASSERT_TRUE(address);
        ASSERT_EQ(::bind(journal_.get(), address->get(), address->size()), 0);
    }

    // 127 without the rights to mount.
    [[nodiscard]] int status_of(ProcessRun run) {
        run.prepare = [&] {
            return ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                   ::mount("none", "/dev", "tmpfs", 0, nullptr) == 0 && UniqueFd(::creat("/dev/log", 0600)) &&
                   ::mount(path_.c_str(), "/dev/log", nullptr, MS_BIND, nullptr) == 0;
        };
        return run_process(run).status;
    }
    [[nodiscard]] std::string line() const {
        std::array<char, 1024> text{};
        EXPECT_GT(::recv(journal_.get(), text.data(), text.size() - 1, MSG_DONTWAIT), 0) << "nothing in the journal";
        return text.data();
    }

private:
    test::TemporaryFolder folder_;
    std::string path_ = folder_.path() / "log";
    UniqueFd journal_{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
};

TEST_F(JournalTest, HasTheCauseOfAFailure) {
    const int status = status_of(hook("not json"));
    if (status == 127) {
        GTEST_SKIP() << "needs root, for a /dev/log of its own";
    }
    EXPECT_EQ(status, 1);
    EXPECT_THAT(line(), AllOf(StartsWith("<27>"),  // LOG_DAEMON | LOG_ERR
                              HasSubstr("netkit-hook["), HasSubstr("the OCI state on stdin: not valid JSON")));
}

TEST_F(JournalTest, HasWhatTheDaemonNotedAboutAContainerThatStarted) {
    notes_ = {"IPv4 only: it is turned off in the container\n"};
    const Sleeper container;
    const int status = status_of(hook(state_of(container.pid()).dump()));
    if (status == 127) {
        GTEST_SKIP() << "needs root, for a /dev/log of its own";
    }
    EXPECT_EQ(status, 0);
    EXPECT_THAT(line(), AllOf(StartsWith("<29>"),  // LOG_DAEMON | LOG_NOTICE
                              HasSubstr("container 'web': IPv4 only: it is turned off in the container ")));
}

// A leak, an invalid access, or a descriptor that is still open at the end is valgrind's exit status 9 and its words.
TEST_F(HookTest, ValgrindFindsNothing) {
    if (is_sanitized()) {
        GTEST_SKIP() << "valgrind can't run what the sanitizers are built into";
    }
    const Sleeper container;
    for (const std::string& state :
         {state_of(container.pid()).dump(), std::string(R"({"id":"web","status":"stopped"})")}) {
        ProcessRun run = hook(state, {"--deadline-ms", "60000"});
        run.command.insert(run.command.begin(), {"/usr/bin/valgrind", "--quiet", "--leak-check=full",
                                                 "--errors-for-leak-kinds=definite,indirect,possible",
                                                 "--track-fds=yes", "--error-exitcode=9"});
        // What this process was started with is not the hook's: close_range(2) lets nothing but the streams through.
        run.prepare = [] { return ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0; };
        const auto result = run_process(run);
        EXPECT_EQ(result.status, 0) << result.errors;
        EXPECT_EQ(result.errors, "");
    }
    EXPECT_EQ(asked().size(), 2U);
}

TEST(HookBinary, NeedsLibcOnly) {
    if (is_sanitized()) {
        GTEST_SKIP() << "the sanitizers are libraries";
    }
    const auto result = run_process({.command = {"/usr/bin/readelf", "-d", NETKIT_HOOK}, .input = ""});
    ASSERT_EQ(result.status, 0) << result.errors;
    std::istringstream lines(result.output);
    std::vector<std::string> needed;
    for (std::string line; std::getline(lines, line);) {
        if (line.contains("(NEEDED)")) {
            needed.push_back(line.substr(line.find('[')));
        }
    }
    EXPECT_THAT(needed, ::testing::UnorderedElementsAre("[libc.so.6]", StartsWith("[ld-linux")));
}

// The processor time of one run, which other work on the machine stretches less than the wall clock's.
std::chrono::microseconds run_time(const std::vector<std::string>& command) {
    const auto spent = [] {
        rusage usage{};
        ::getrusage(RUSAGE_CHILDREN, &usage);
        return std::chrono::seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               std::chrono::microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    };
    const auto before = spent();
    EXPECT_EQ(run_process({.command = command, .input = ""}).status, 0);
    return spent() - before;
}

// What the machine takes to start any process is not the hook's: /bin/true is the yardstick. A busy machine only ever
// adds to a run, so the least of many is the truth; on a quiet one the first fifty will do.
TEST(HookBinary, StartsWithinAMillisecond) {
    if (is_sanitized()) {
        GTEST_SKIP() << "the sanitizers take longer than that";
    }
    auto hook = std::chrono::microseconds::max();
    auto floor = std::chrono::microseconds::max();
    for (int i = 0; i < 50 || (hook - floor >= 1ms && i < 1000); ++i) {
        hook = std::min(hook, run_time({NETKIT_HOOK, "--help"}));
        floor = std::min(floor, run_time({"/bin/true"}));
    }
    std::cout << formatted("hook {} us, /bin/true {} us of processor time\n", hook.count(), floor.count());
    EXPECT_LT(hook - floor, 1ms);
}

}  // namespace
}  // namespace netkitd
