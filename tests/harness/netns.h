// Network namespaces for tests: each test runs on a "node" of its own, and makes containers and outside hosts as it
// needs them. Namespaces have no names and are held by descriptors only, so they are gone with the test, however it
// ends.
//
//   class PairTest : public NetnsTest {};
//   TEST_F(PairTest, ContainerReachesTheNode) {
//       NetworkNamespace container;
//       connect(node(), "nk0", container, "eth0");
//       container.run("ip addr add 10.0.0.2/24 dev eth0");
//       …
//       EXPECT_TRUE(container.reaches("10.0.0.1"));
//   }
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "base/unique_fd.h"

namespace netkitd::test {

class NetworkNamespace {
public:
    // A new one, with only `lo` in it, which is down. Throws std::runtime_error if the kernel refuses.
    NetworkNamespace();

    [[nodiscard]] int fd() const { return fd_.get(); }
    // Valid as long as this object and this process live, also for other processes ("ip link set … netns PATH").
    [[nodiscard]] std::string path() const;

    // With the calling thread inside.
    void inside(const std::function<void()>& function) const;
    // Runs a shell command inside; its output, standard error included. A failing command fails the test.
    // NOLINTNEXTLINE(modernize-use-nodiscard): most commands are run for what they do.
    std::string run(const std::string& command) const;
    // Until this IPv6 address is its own: that is a moment after it was added (addrconf_dad_work() in
    // net/ipv6/addrconf.c).
    void await_address(const std::string& address) const;
    // Whether the shell command succeeds inside.
    [[nodiscard]] bool succeeds(const std::string& command) const;
    // Whether a ping to the address, one packet, is answered: waited for long, since the machine may be busy. `from`:
    // the source, if it isn't the one that the route says.
    [[nodiscard]] bool reaches(const std::string& address, const std::string& from = "") const;
    // Whether it is not, within a second.
    [[nodiscard]] bool cannot_reach(const std::string& address, const std::string& from = "") const;

private:
    UniqueFd fd_;
};

// A veth link between two namespaces, both ends up.
void connect(const NetworkNamespace& a, const std::string& name_a, const NetworkNamespace& b,
             const std::string& name_b);

// The body of each test runs inside node(), a new namespace with `lo` up. Skips where there is no right to make one.
class NetnsTest : public ::testing::Test {
protected:
    void SetUp() override;
    void TearDown() override;

    [[nodiscard]] const NetworkNamespace& node() const { return *node_; }

private:
    UniqueFd home_;
    std::unique_ptr<NetworkNamespace> node_;
};

}  // namespace netkitd::test
