// The IPC server with a handler of the test's own, in a thread of this process, on a socket in a folder of its own; and
// the raw client that does what a well-behaved one never would.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "event/event_loop.h"
#include "ipc/server.h"

namespace netkitd::test {

// Removed with all that is in it.
class TemporaryFolder {
public:
    TemporaryFolder();
    ~TemporaryFolder();
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

class TestServer {
public:
    explicit TestServer(ipc::Server::Handler handler, ipc::Server::Options options = {});
    ~TestServer();
    TestServer(const TestServer&) = delete;
    TestServer& operator=(const TestServer&) = delete;

    [[nodiscard]] std::string path() const { return folder_.path() / "netkitd.sock"; }
    // What the server has reported so far.
    [[nodiscard]] std::vector<std::string> reports();

private:
    void serve(ipc::Server::Handler handler, ipc::Server::Options options);

    TemporaryFolder folder_;
    UniqueFd stop_;
    std::mutex mutex_;
    std::vector<std::string> reports_;
    std::atomic<bool> ready_ = false;
    std::jthread thread_;
};

class RawClient {
public:
    explicit RawClient(const std::string& path);
    void send(std::string_view bytes, std::span<const int> descriptors = {}) const;
    // Ends the sending side only.
    void half_close() const;
    void leave() { socket_.reset(); }
    // The reply, empty when the server closed without one. Fails the test after ten seconds.
    [[nodiscard]] std::string reply() const;

private:
    UniqueFd socket_;
};

}  // namespace netkitd::test
