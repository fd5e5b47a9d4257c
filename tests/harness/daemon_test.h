// netkitd itself, as a process on a host of the test's own, and a client of it: for what a node does with its time, its
// signals and its death.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "harness/host_test.h"
#include "ipc/protocol.h"

namespace netkitd::test {

// A process that does nothing, in a netns of its own: a container as far as a network is concerned. It ends with this.
class ContainerProcess {
public:
    ContainerProcess();
    ~ContainerProcess();
    ContainerProcess(const ContainerProcess&) = delete;
    ContainerProcess& operator=(const ContainerProcess&) = delete;

    [[nodiscard]] const NetworkNamespace& netns() const { return netns_; }
    [[nodiscard]] pid_t pid() const { return pid_; }

private:
    ContainerNamespace netns_;
    pid_t pid_ = 0;
};

class DaemonTest : public HostTest {
protected:
    void SetUp() override;
    void TearDown() override;

    // Another netkitd than the one that was built.
    void use_program(std::string path) { program_ = std::move(path); }
    // As a process that ends with the test. Does not wait for anything.
    void launch();
    // launch(), and until it answers; false after half a minute (in the VM, five).
    [[nodiscard]] bool start();
    // Sends the signal and waits for the end. SIGTERM has to end it well: a sanitizer that finds something at the end,
    // or a daemon that had ended before, fails the test.
    void stop(int signal);
    // Waits until it ends by itself: its exit status, or none if it does not, or a signal ended it.
    [[nodiscard]] std::optional<int> own_end();
    void signal(int signal) const;
    // Where no daemon runs: `netkitd --purge`, whoever is attached.
    void purge() const;
    [[nodiscard]] pid_t daemon_pid() const { return daemon_; }

    [[nodiscard]] Result<nlohmann::json> call(const ipc::Request& request,
                                              std::chrono::milliseconds deadline = std::chrono::seconds(20)) const;
    [[nodiscard]] Result<nlohmann::json> attach(const ContainerProcess& container, const std::string& id,
                                                std::map<std::string, std::string> annotations = {}) const;
    [[nodiscard]] Result<nlohmann::json> detach(const std::string& id) const;
    // Throws where the daemon does not answer.
    [[nodiscard]] nlohmann::json status() const;
    // What status says that is not as it should be, a sentence each.
    [[nodiscard]] std::vector<std::string> degraded() const;
    [[nodiscard]] nlohmann::json endpoints() const;
    // Names.
    [[nodiscard]] std::set<std::string> uplinks() const;
    [[nodiscard]] bool comes_to_be_an_uplink(const std::string& name) const;
    // Packets, of one of status' counters.
    [[nodiscard]] std::uint64_t counted(std::string_view name) const;
    [[nodiscard]] std::string log() const;

private:
    std::string program_ = NETKITD_PROGRAM;
    pid_t daemon_ = 0;
};

}  // namespace netkitd::test
