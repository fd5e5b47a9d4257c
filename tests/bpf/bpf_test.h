// The fixture of this suite: each test has a node of its own, with the programs loaded (harness/prog_run.h).
#pragma once

#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/unique_fd.h"
#include "harness/netns.h"
#include "harness/prog_run.h"

namespace netkitd::test {

inline constexpr const char* kNoBpf = "this kernel or container forbids BPF, or network namespaces";

// The endpoints of the test node's web and db.
inline constexpr std::uint32_t kWebId = 1;
inline constexpr std::uint32_t kDbId = 2;

[[nodiscard]] inline bool bpf_is_possible() {
    const UniqueFd probe(bpf_map_create(BPF_MAP_TYPE_ARRAY, "probe", 4, 4, 1, nullptr));
    return static_cast<bool>(probe);
}

// The calling thread's: what is of each CPU its own (an LRU map's free entries, remembered routes) is one thing then.
inline void pin_to_cpu(std::size_t cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    EXPECT_EQ(sched_setaffinity(0, sizeof(set), &set), 0) << std::strerror(errno);
}

class BpfTest : public NetnsTest {
protected:
    void SetUp() override {
        NetnsTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        sched_getaffinity(0, sizeof(cpus_), &cpus_);
        if (!bpf_is_possible()) {
            GTEST_SKIP() << kNoBpf;
        }
        auto node = TestNode::create(NetnsTest::node(), options);
        ASSERT_TRUE(node) << node.error().message();
        node_.emplace(std::move(*node));
    }

    void TearDown() override {
        node_.reset();
        if (CPU_COUNT(&cpus_) > 0) {
            sched_setaffinity(0, sizeof(cpus_), &cpus_);  // after pin_to_cpu()
        }
        NetnsTest::TearDown();
    }

    [[nodiscard]] TestNode& node() { return *node_; }

    void publish(const datapath::Frontend& frontend) {
        const auto published = node().publish(frontend);
        ASSERT_TRUE(published) << published.error().message();
    }

    // NOLINTBEGIN(modernize-use-nodiscard): most packets are sent for what they do.
    RunResult run(Program program, std::string_view device, const Packet& packet, const RunOptions& how = {}) {
        auto result = node().run(program, device, packet, how);
        EXPECT_TRUE(result) << result.error().message();
        return result ? *result : RunResult{};
    }
    RunResult out(const Packet& packet) { return run(Program::veth_ingress, "nkweb", packet); }
    RunResult out_of_db(const Packet& packet) { return run(Program::veth_ingress, "nkdb", packet); }
    RunResult in(const Packet& packet) { return run(Program::uplink_ingress, "eth0", packet); }
    // NOLINTEND(modernize-use-nodiscard)

    // For a test that needs another node than the usual: set in its constructor.
    TestNode::Options options;

private:
    std::optional<TestNode> node_;
    cpu_set_t cpus_{};
};

}  // namespace netkitd::test
