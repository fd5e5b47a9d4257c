// The server with clients that behave, and with clients that don't: none of them harms another.
#include "ipc/server.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>

#include <array>
#include <fstream>
#include <future>
#include <latch>
#include <nlohmann/json.hpp>

#include "harness/ipc.h"
#include "harness/sanitized.h"
#include "ipc/client.h"
#include "ipc/socket_address.h"

namespace netkitd::ipc {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using test::RawClient;
using test::TemporaryFolder;
using test::TestServer;
using ::testing::HasSubstr;

constexpr std::string_view kStatus = R"({"version":1,"op":"status"})";

Result<json> say_hello(const Request& /*request*/, const Peer& /*peer*/) {
    return json{{"hello", true}};
}

Result<json> ask_status(const TestServer& server) {
    return call(server.path(), {.operation = Operation::status}, 10s);
}

// The first connection makes the descriptor of the server's timers. When its client sees the end, the server's side of
// it is closed.
void serve_first_client(const TestServer& server) {
    const RawClient client(server.path());
    client.send(kStatus);
    EXPECT_NE(client.reply(), "");
    EXPECT_EQ(client.reply(), "");
}

// Of this process, so of client and server together.
std::size_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

// The server closes its end of a connection just after it has sent the reply.
void expect_descriptors_settle_at(std::size_t expected) {
    for (int i = 0; i < 200 && open_descriptors() != expected; ++i) {
        std::this_thread::sleep_for(10ms);
    }
    EXPECT_EQ(open_descriptors(), expected);
}

std::string file_of(int fd) {
    return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd));
}

TEST(Server, AnswersWithWhatTheHandlerSays) {
    const TestServer server(say_hello);
    const auto reply = ask_status(server);
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_TRUE(reply->at("hello"));
}

TEST(Server, HandsOverTheDescriptorsAndThePeer) {
    const TemporaryFolder folder;
    const std::string netns = folder.path() / "netns";
    const std::string pidfd = folder.path() / "pidfd";
    const TestServer server([](const Request& request, const Peer& peer) -> Result<json> {
        return json{{"netns", file_of(request.netns.get())},
                    {"pidfd", file_of(request.pidfd.get())},
                    {"pid", peer.pid},
                    {"cloexec", ::fcntl(request.netns.get(), F_GETFD) == FD_CLOEXEC}};
    });
    Request request{.operation = Operation::attach, .id = "web", .pid = 1};
    request.netns.reset(::open(netns.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    request.pidfd.reset(::open(pidfd.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    const auto reply = call(server.path(), request, 10s);
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_EQ(reply->at("netns"), netns);
    EXPECT_EQ(reply->at("pidfd"), pidfd);
    EXPECT_EQ(reply->at("pid"), ::getpid());
    EXPECT_TRUE(reply->at("cloexec"));
}

TEST(Server, ARefusalReachesTheCallerWithItsKind) {
    const TestServer server([](const Request&, const Peer&) -> Result<json> {
        return fail(ErrorKind::exhausted, "no address left in default");
    });
    const auto reply = ask_status(server);
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().kind(), ErrorKind::exhausted);
    EXPECT_EQ(reply.error().message(), "no address left in default");
}

TEST(Server, AnExceptionInTheHandlerIsAnErrorReply) {
    const TestServer server([](const Request&, const Peer&) -> Result<json> { return json::parse("{"); });
    const auto reply = ask_status(server);
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().kind(), ErrorKind::internal);
    EXPECT_FALSE(ask_status(server)) << "and the server goes on";
}

TEST(Server, AReplyOfAMegabyteArrivesWhole) {
    const std::string text(1024UL * 1024, 'x');
    const TestServer server([&](const Request&, const Peer&) -> Result<json> { return json{{"text", text}}; });
    serve_first_client(server);
    const auto before = open_descriptors();
    const auto reply = ask_status(server);
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_EQ(reply->at("text"), text);
    expect_descriptors_settle_at(before);
}

TEST(Server, MalformedRequestsAreAnsweredAndReported) {
    TestServer server(say_hello);
    for (const std::string& text : {std::string("nonsense"), std::string(10'000, '['), std::string("\xff\xfe"),
                                    std::string(R"({"version":1,"op":"status","extra":1})")}) {
        const RawClient client(server.path());
        client.send(text);
        EXPECT_THAT(client.reply(), HasSubstr(R"("code":"invalid")")) << text.substr(0, 64);
    }
    EXPECT_TRUE(ask_status(server));
    ASSERT_EQ(server.reports().size(), 4U);
    EXPECT_THAT(server.reports().front(),
                HasSubstr(formatted("process {} (uid 0): request: not valid JSON", getpid())));
}

TEST(Server, AnOversizedRequestIsRefused) {
    const TestServer server(say_hello);
    const RawClient client(server.path());
    client.send(std::string(kMaxMessageBytes + 1, ' '));
    EXPECT_THAT(client.reply(), HasSubstr("longer than 65536 bytes"));
}

TEST(Server, ASilentClientIsToldAndDelaysNobody) {
    constexpr auto kDeadline = 3s;
    TestServer server(say_hello, {.deadline = kDeadline});
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::unique_ptr<RawClient>> silent;
    for (int i = 0; i < 20; ++i) {
        silent.push_back(std::make_unique<RawClient>(server.path()));
    }
    EXPECT_TRUE(ask_status(server));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, kDeadline) << "it waited for those that are silent";
    for (const auto& client : silent) {
        EXPECT_THAT(client->reply(), HasSubstr("no request came within 3000ms"));
        EXPECT_EQ(client->reply(), "") << "and then the connection is closed";
    }
}

TEST(Server, AClientThatEndsItsSendingSideStillGetsItsReply) {
    const TestServer server(say_hello);
    const RawClient client(server.path());
    client.send(kStatus);
    client.half_close();
    EXPECT_THAT(client.reply(), HasSubstr("hello"));
}

TEST(Server, AClientThatEndsItsSendingSideUnheardIsClosed) {
    const TestServer server(say_hello);
    const RawClient client(server.path());
    client.half_close();
    EXPECT_EQ(client.reply(), "");
}

TEST(Server, OnlyTheFirstMessageIsRead) {
    std::atomic<int> requests = 0;
    const TestServer server([&](const Request&, const Peer&) -> Result<json> {
        ++requests;
        return json::object();
    });
    const RawClient client(server.path());
    client.send(kStatus);
    EXPECT_THAT(client.reply(), HasSubstr("\"ok\":true"));
    EXPECT_TRUE(ask_status(server));
    EXPECT_EQ(requests, 2);
}

// A server whose handler is busy with a first request until the test lets it go.
class BusyServer : public ::testing::Test {
protected:
    // Long: the first request has to come within it, or the test would wait for ever.
    static constexpr auto kDeadline = 2s;

    Result<json> handle(const Request& request) {
        if (request.operation == Operation::status) {
            busy_.count_down();
            release_.wait();
        }
        const std::scoped_lock lock(mutex_);
        seen_.push_back(request.operation);
        return json::object();
    }
    std::vector<Operation> seen() {
        const std::scoped_lock lock(mutex_);
        return seen_;
    }

    std::latch busy_{1};
    std::latch release_{1};
    std::mutex mutex_;
    std::vector<Operation> seen_;
    TestServer server_{[this](const Request& request, const Peer&) { return handle(request); },
                       {.deadline = kDeadline}};
};

TEST_F(BusyServer, SurvivesAClientThatVanishesBeforeItsReply) {
    RawClient client(server_.path());
    client.send(kStatus);
    busy_.wait();
    client.leave();
    release_.count_down();
    EXPECT_TRUE(call(server_.path(), {.operation = Operation::flow_list}, 10s));
    ASSERT_EQ(server_.reports().size(), 1U);
    EXPECT_THAT(server_.reports().front(), HasSubstr("the reply: send a message: Broken pipe"));
}

// A runtime killed the hook while it waited for its turn: that container never starts.
TEST_F(BusyServer, DoesNotAttachForAClientThatHasLeftButDetaches) {
    const RawClient first(server_.path());
    first.send(kStatus);
    busy_.wait();
    const UniqueFd netns(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    RawClient attach(server_.path());
    attach.send(R"({"version":1,"op":"attach","id":"web","fds":["netns"]})", std::array{netns.get()});
    attach.leave();
    RawClient detach(server_.path());
    detach.send(R"({"version":1,"op":"detach","id":"web"})");
    detach.leave();
    release_.count_down();
    EXPECT_TRUE(call(server_.path(), {.operation = Operation::flow_list}, 10s));
    EXPECT_EQ(seen(), (std::vector{Operation::status, Operation::detach, Operation::flow_list}));
}

// Its deadline is for the client's part: what the daemon takes for others does not count against it.
TEST_F(BusyServer, AnswersARequestThatHadToWaitLongerThanTheDeadline) {
    const RawClient first(server_.path());
    first.send(kStatus);
    busy_.wait();
    const RawClient second(server_.path());
    second.send(R"({"version":1,"op":"flow-list"})");
    std::this_thread::sleep_for(kDeadline + 500ms);
    release_.count_down();
    EXPECT_THAT(second.reply(), HasSubstr("\"ok\":true"));
}

TEST(Server, ManySilentClientsMakeRoomForOneThatAsks) {
    TestServer server(say_hello, {.deadline = 60s, .max_connections = 16});
    std::vector<std::unique_ptr<RawClient>> silent;
    for (int i = 0; i < 300; ++i) {
        silent.push_back(std::make_unique<RawClient>(server.path()));
    }
    EXPECT_TRUE(ask_status(server));
    EXPECT_THAT(silent.front()->reply(), HasSubstr("16 connections are open and this one was silent for longest"));
    silent.back()->send(kStatus);
    EXPECT_THAT(silent.back()->reply(), HasSubstr("hello"));
}

// More than may be open: who has asked is served, not sent away.
TEST_F(BusyServer, ServesManyThatHaveAskedMeanwhile) {
    const RawClient first(server_.path());
    first.send(kStatus);
    busy_.wait();
    std::vector<std::unique_ptr<RawClient>> clients;
    for (int i = 0; i < 300; ++i) {
        clients.push_back(std::make_unique<RawClient>(server_.path()));
        clients.back()->send(R"({"version":1,"op":"flow-list"})");
    }
    release_.count_down();
    for (const auto& client : clients) {
        EXPECT_THAT(client->reply(), HasSubstr("\"ok\":true"));
    }
}

TEST(Server, MoreDescriptorsThanAllowedAreRefusedAndClosed) {
    const TestServer server(say_hello);
    const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    serve_first_client(server);
    const auto before = open_descriptors();
    // 253 is the most that one message can carry (SCM_MAX_FD, include/net/scm.h).
    for (const std::size_t count : {3UL, 10UL, 253UL}) {
        for (int i = 0; i < 20; ++i) {
            const RawClient client(server.path());
            client.send(kStatus, std::vector(count, file.get()));
            EXPECT_THAT(client.reply(), HasSubstr("more than 2 descriptors")) << count;
        }
    }
    expect_descriptors_settle_at(before);
}

TEST(Server, DescriptorsOfEveryRequestAreClosed) {
    const TestServer server(say_hello);
    const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    serve_first_client(server);
    const auto before = open_descriptors();
    for (const char* text :
         {R"({"version":1,"op":"attach","id":"web","fds":["netns"]})", R"({"version":1,"op":"status"})", "nonsense"}) {
        for (int i = 0; i < 20; ++i) {
            const RawClient client(server.path());
            client.send(text, std::array{file.get()});
            EXPECT_NE(client.reply(), "");
        }
    }
    expect_descriptors_settle_at(before);
}

TEST(Server, OutOfDescriptorsItRecovers) {
    if (test::is_sanitized()) {
        GTEST_SKIP() << "the sanitizer makes a pipe to look at memory";
    }
    TestServer server(say_hello);
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    const rlimit before = limit;
    serve_first_client(server);
    std::vector<UniqueFd> fill;
    limit.rlim_cur = open_descriptors() + 16;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
    // The last descriptor is the client's: none is left for the server's end.
    const UniqueFd waiting(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    for (int fd = 0; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) {
        fill.emplace_back(fd);
    }
    const auto address = SocketAddress::of_path(server.path());
    ASSERT_TRUE(address);
    ASSERT_EQ(::connect(waiting.get(), address->get(), address->size()), 0);
    for (int i = 0; i < 200 && server.reports().empty(); ++i) {
        std::this_thread::sleep_for(10ms);
    }
    fill.clear();
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    ASSERT_FALSE(server.reports().empty());
    EXPECT_THAT(server.reports().front(), HasSubstr("Too many open files"));
    EXPECT_TRUE(ask_status(server));
}

TEST(Server, OnlyRootMayAsk) {
    if (::geteuid() != 0) {
        GTEST_SKIP() << "needs root, to become somebody else";
    }
    const TestServer server([](const Request&, const Peer&) -> Result<json> {
        ADD_FAILURE() << "the handler was called";
        return json::object();
    });
    // As if somebody had opened the way: the mode alone must not be what protects the daemon.
    ASSERT_EQ(::chmod(server.path().c_str(), 0666), 0);
    ASSERT_EQ(::chmod(std::filesystem::path(server.path()).parent_path().c_str(), 0755), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        constexpr uid_t kNobody = 65534;
        if (::setresuid(kNobody, kNobody, kNobody) != 0) {
            ::_exit(2);
        }
        const auto reply = ask_status(server);
        const bool refused = !reply && reply.error().kind() == ErrorKind::refused &&
                             reply.error().message().contains("(uid 65534): only root may ask netkitd");
        ::_exit(refused ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

TEST(ListenSocket, IsForItsOwnerOnly) {
    const TemporaryFolder folder;
    const std::string path = folder.path() / "new" / "netkitd.sock";
    const auto socket = ListenSocket::bind(path);
    ASSERT_TRUE(socket) << socket.error().message();
    struct stat status{};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode, S_IFSOCK | 0600U);
    ASSERT_EQ(::stat((folder.path() / "new").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode, S_IFDIR | 0755U);
}

TEST(ListenSocket, ReplacesWhatADeadDaemonLeft) {
    const TemporaryFolder folder;
    const std::string path = folder.path() / "netkitd.sock";
    {
        const auto address = SocketAddress::of_path(path);
        ASSERT_TRUE(address);
        const UniqueFd dead(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        ASSERT_EQ(::bind(dead.get(), address->get(), address->size()), 0);
    }
    ASSERT_TRUE(std::filesystem::exists(path));
    {
        const auto socket = ListenSocket::bind(path);
        ASSERT_TRUE(socket) << socket.error().message();
        const RawClient client(path);
    }
    EXPECT_FALSE(std::filesystem::exists(path)) << "a daemon that ends removes its socket";
}

TEST(ListenSocket, LeavesALivingDaemonAlone) {
    const TestServer server(say_hello);
    const auto second = ListenSocket::bind(server.path());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().kind(), ErrorKind::refused);
    EXPECT_THAT(second.error().message(), HasSubstr("another netkitd answers on"));
    EXPECT_TRUE(ask_status(server));
}

TEST(ListenSocket, LeavesAFileThatIsNoSocketAlone) {
    const TemporaryFolder folder;
    const std::string path = folder.path() / "precious";
    std::ofstream(path) << "data";
    const auto socket = ListenSocket::bind(path);
    ASSERT_FALSE(socket);
    EXPECT_THAT(socket.error().message(), HasSubstr("is not a socket"));
    EXPECT_EQ(std::filesystem::file_size(path), 4U);
}

TEST(ListenSocket, APathThatIsTooLongIsSaidToBe) {
    const auto socket = ListenSocket::bind("/tmp/" + std::string(200, 'a'));
    ASSERT_FALSE(socket);
    EXPECT_THAT(socket.error().message(), HasSubstr("205 bytes long, 1 to 107 are allowed"));
}

TEST(ListenSocket, ThatSystemdPassedIsUsedAndStays) {
    const TemporaryFolder folder;
    const std::string path = folder.path() / "netkitd.sock";
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        const auto made = ListenSocket::bind(path);
        if (!made || ::dup2(made->fd(), SD_LISTEN_FDS_START) < 0) {
            ::_exit(2);
        }
        ::setenv("LISTEN_FDS", "1", 1);
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
        {
            const auto passed = ListenSocket::from_systemd();
            const auto again = ListenSocket::from_systemd();
            if (!passed || !*passed || !again || !*again) {
                ::_exit(1);
            }
        }
        if (::fcntl(SD_LISTEN_FDS_START, F_GETFD) < 0) {
            ::_exit(4);
        }
        ::_exit(std::filesystem::exists(path) ? 0 : 3);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

TEST(ListenSocket, WithoutSystemdThereIsNoneToTake) {
    const auto passed = ListenSocket::from_systemd();
    ASSERT_TRUE(passed);
    EXPECT_FALSE(*passed);
}

TEST(Client, SaysHowToStartADaemonThatDoesNotRun) {
    const TemporaryFolder folder;
    const auto reply = call(folder.path() / "netkitd.sock", {.operation = Operation::status}, 1s);
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().kind(), ErrorKind::unavailable);
    EXPECT_THAT(reply.error().message(), HasSubstr("systemctl start netkitd"));
}

TEST(Client, GivesUpAtItsDeadline) {
    const TemporaryFolder folder;
    const std::string path = folder.path() / "netkitd.sock";
    const auto nobody_accepts = ListenSocket::bind(path);
    ASSERT_TRUE(nobody_accepts);
    const auto begin = std::chrono::steady_clock::now();
    const auto reply = call(path, {.operation = Operation::status}, 200ms);
    const auto took = std::chrono::steady_clock::now() - begin;
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().kind(), ErrorKind::unavailable);
    EXPECT_THAT(reply.error().message(), HasSubstr("did not answer within 200 ms"));
    EXPECT_GE(took, 200ms);
    EXPECT_LT(took, 2s);
}

// More callers than the queue holds: they wait their turn to connect, and not longer than their deadline.
TEST(Client, GivesUpOnAFullQueueAtItsDeadline) {
    const TemporaryFolder folder;
    const std::string path = folder.path() / "netkitd.sock";
    const auto socket = ListenSocket::bind(path);
    ASSERT_TRUE(socket);
    ASSERT_EQ(::listen(socket->fd(), 0), 0);
    const RawClient queued(path);
    const auto reply = call(path, {.operation = Operation::status}, 200ms);
    ASSERT_FALSE(reply);
    EXPECT_THAT(reply.error().message(), HasSubstr("did not answer within 200 ms"));
}

TEST(Client, SaysWhenTheDaemonClosesWithoutAReply) {
    const TemporaryFolder folder;
    const std::string path = folder.path() / "netkitd.sock";
    const auto socket = ListenSocket::bind(path);
    ASSERT_TRUE(socket);
    auto reply = std::async(std::launch::async, [&] { return call(path, {.operation = Operation::status}, 10s); });
    UniqueFd connection;
    while (!connection) {
        connection.reset(::accept4(socket->fd(), nullptr, nullptr, SOCK_CLOEXEC));
    }
    connection.reset();
    const auto result = reply.get();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind(), ErrorKind::unavailable);
    EXPECT_THAT(result.error().message(), HasSubstr("without a reply"));
}

}  // namespace
}  // namespace netkitd::ipc
