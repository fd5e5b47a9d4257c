#include "harness/ipc.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cstring>

#include "ipc/message.h"
#include "ipc/socket_address.h"

namespace netkitd::test {

TemporaryFolder::TemporaryFolder() {
    std::string name = std::filesystem::temp_directory_path() / "netkitd-test-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) {
        throw std::runtime_error("mkdtemp: " + std::string(std::strerror(errno)));
    }
    path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
    std::error_code ignored;  // a destructor has nobody to tell
    std::filesystem::remove_all(path_, ignored);
}

TestServer::TestServer(ipc::Server::Handler handler, ipc::Server::Options options) : stop_(::eventfd(0, EFD_CLOEXEC)) {
    options.report = [this](const Error& error) {
        const std::scoped_lock lock(mutex_);
        reports_.push_back(error.message());
    };
    thread_ = std::jthread([this, handler = std::move(handler), options = std::move(options)]() mutable {
        serve(std::move(handler), std::move(options));
    });
    ready_.wait(false);
}

TestServer::~TestServer() {
    ::eventfd_write(stop_.get(), 1);
}

void TestServer::serve(ipc::Server::Handler handler, ipc::Server::Options options) {
    const Result<void> done = [&]() -> Result<void> {
        EventLoop loop = NK_TRY(EventLoop::create());
        const EventSource stop = NK_TRY(loop.on_readable(stop_.get(), [&loop] { loop.quit(); }));
        auto socket = NK_TRY(ipc::ListenSocket::bind(path()));
        const auto server = NK_TRY(ipc::Server::start(loop, std::move(socket), std::move(handler), std::move(options)));
        ready_ = true;
        ready_.notify_all();
        return loop.run();
    }();
    EXPECT_TRUE(done) << done.error().message();
    ready_ = true;
    ready_.notify_all();
}

std::vector<std::string> TestServer::reports() {
    const std::scoped_lock lock(mutex_);
    return reports_;
}

RawClient::RawClient(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
    const auto address = ipc::SocketAddress::of_path(path);
    if (socket_.get() < 0 || !address || ::connect(socket_.get(), address->get(), address->size()) != 0) {
        throw std::runtime_error("connect " + path + ": " + std::strerror(errno));
    }
}

void RawClient::send(std::string_view bytes, std::span<const int> descriptors) const {
    std::string payload(bytes);
    std::vector<char> control(CMSG_SPACE(descriptors.size_bytes()));
    iovec part{.iov_base = payload.data(), .iov_len = payload.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (!descriptors.empty()) {
        header.msg_control = control.data();
        header.msg_controllen = control.size();
        cmsghdr* rights = CMSG_FIRSTHDR(&header);
        ASSERT_NE(rights, nullptr);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(descriptors.size_bytes());
        std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size_bytes());
    }
    ASSERT_EQ(::sendmsg(socket_.get(), &header, MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()))
        << std::strerror(errno);
}

void RawClient::half_close() const {
    ASSERT_EQ(::shutdown(socket_.get(), SHUT_WR), 0);
}

std::string RawClient::reply() const {
    pollfd state{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&state, 1, 10'000) != 1) {
        ADD_FAILURE() << "no reply within ten seconds";
        return "";
    }
    auto message = ipc::receive_message(socket_.get());
    if (!message) {
        ADD_FAILURE() << message.error().message();
        return "";
    }
    return *message ? (*message)->text : "";
}

}  // namespace netkitd::test
