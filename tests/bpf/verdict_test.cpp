// Every verdict of every program, by the tables in container_cases.cpp and uplink_cases.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <set>

#include "bpf/bpf_test.h"
#include "bpf/verdict_table.h"

namespace netkitd::test {
namespace {

void expect_row(TestNode& node, Program program, const VerdictCase& row, bool checksum_complete) {
    if (row.prepare) {
        row.prepare(node);
    }
    RunOptions options = row.run;
    options.checksum_complete = checksum_complete;
    const auto result = node.run(program, row.device, row.packet, options);
    if (row.undo) {
        row.undo();
    }
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_EQ(result->verdict, row.verdict);
    EXPECT_EQ(result->counted, row.counted);
    EXPECT_EQ(describe(result->packet), describe(row.becomes.value_or(row.packet).bytes()));
}

void expect_row_on_its_own_node(Program program, const VerdictCase& row) {
    const NetworkNamespace home;
    home.inside([&] {
        TestNode::Options options = row.node;
        options.netkit_peer = program == Program::netkit_peer;
        auto node = TestNode::create(home, options);
        ASSERT_TRUE(node) << node.error().message();
        expect_row(*node, program, row, false);
    });
}

// The verifier takes a second, and in the VM half a minute: one node for all tables that run in one process.
class VerdictTest : public ::testing::TestWithParam<VerdictTable> {
protected:
    static void SetUpTestSuite() {
        if (bpf_is_possible()) {
            home.emplace();
            home->inside([] {
                auto made = TestNode::create(*home, {.netkit_peer = true});
                ASSERT_TRUE(made) << made.error().message();
                node.emplace(std::move(*made));
            });
        }
    }
    static void TearDownTestSuite() {
        node.reset();
        home.reset();
    }
    void SetUp() override {
        if (!home) {
            GTEST_SKIP() << kNoBpf;
        }
        ASSERT_TRUE(node);
    }

    static std::optional<NetworkNamespace> home;
    static std::optional<TestNode> node;
};
std::optional<NetworkNamespace> VerdictTest::home;
std::optional<TestNode> VerdictTest::node;

TEST_P(VerdictTest, IsAsTheTableSays) {
    const VerdictTable& table = GetParam();
    for (const VerdictCase& row : table.rows) {
        SCOPED_TRACE(row.name);
        if (row.own_node) {
            expect_row_on_its_own_node(table.program, row);
        } else {
            home->inside([&] {
                node->reset(row.node);
                expect_row(*node, table.program, row, false);
                node->reset(row.node);
                expect_row(*node, table.program, row, true);
            });
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Table, VerdictTest, ::testing::ValuesIn(all_tables()), [](const auto& table) {
    return std::string(to_string(table.param.program)) + "_" + table.param.name;
});

// A counter that no row moves is one that nobody knows to work.
TEST(Coverage, EveryCounterHasARow) {
    // The kernel fails to change a packet only when it is out of memory, which PROG_RUN cannot bring about; and it
    // takes no skb->tc_index from it: the wire test has real copies.
    const std::set<std::string> unreachable{"rewrite-failed", "copy-ended"};
    std::set<std::string> moved;
    for (const VerdictTable& table : all_tables()) {
        for (const VerdictCase& row : table.rows) {
            for (const auto& [name, count] : row.counted) {
                moved.insert(name);
            }
        }
    }
    for (const auto& [name, drop] : counter_names()) {
        EXPECT_NE(moved.contains(name), unreachable.contains(name)) << name;
    }
}

TEST(Coverage, EveryProgramHasARowForEveryVerdict) {
    std::map<Program, std::set<Verdict>> seen;
    for (const VerdictTable& table : all_tables()) {
        for (const VerdictCase& row : table.rows) {
            seen[table.program].insert(row.verdict);
        }
    }
    const std::set all{Verdict::pass, Verdict::drop, Verdict::redirect};
    EXPECT_EQ(seen[Program::netkit_peer], all);
    EXPECT_EQ(seen[Program::veth_ingress], all);
    EXPECT_EQ(seen[Program::uplink_ingress], all);
    EXPECT_EQ(seen[Program::uplink_egress], (std::set{Verdict::pass, Verdict::drop}));
}

}  // namespace
}  // namespace netkitd::test
