// Every verdict of every program, by the tables in the *_cases.cpp. Each row is a test, so that one can be run alone:
// --gtest_filter='*.FirstReply/V4'.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <compare>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/format.h"
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
        options.loopback_egress = program == Program::loopback_egress;
        auto node = TestNode::create(home, options);
        ASSERT_TRUE(node) << node.error().message();
        expect_row(*node, program, row, false);
    });
}

// One for all rows of a process, with the programs loaded: made when the first row needs it.
class SharedNode : public ::testing::Environment {
public:
    void TearDown() override {
        node_.reset();
        home_.reset();
    }

    // With the calling thread inside the node's namespace.
    void use(const std::function<void(TestNode&)>& function) {
        if (!home_) {
            home_.emplace();
        }
        home_->inside([&] {
            if (!node_) {
                auto made = TestNode::create(*home_, {.netkit_peer = true, .loopback_egress = true});
                ASSERT_TRUE(made) << made.error().message();
                node_.emplace(std::move(*made));
            }
            function(*node_);
        });
    }

private:
    std::optional<NetworkNamespace> home_;
    std::optional<TestNode> node_;
};

class VerdictTest : public ::testing::Test {
public:
    VerdictTest(SharedNode& shared, Program program, VerdictCase row)
        : shared_(shared), program_(program), row_(std::move(row)) {}

protected:
    void SetUp() override {
        if (!bpf_is_possible()) {
            GTEST_SKIP() << kNoBpf;
        }
    }
    void TestBody() override {
        if (row_.own_node) {
            expect_row_on_its_own_node(program_, row_);
            return;
        }
        shared_.use([&](TestNode& node) {
            for (const bool checksum_complete : {false, true}) {
                if (checksum_complete && row_.is_cut) {
                    continue;
                }
                SCOPED_TRACE(checksum_complete ? "CHECKSUM_COMPLETE" : "CHECKSUM_NONE");
                node.reset(row_.node);
                expect_row(node, program_, row_, checksum_complete);
            }
        });
    }

private:
    SharedNode& shared_;
    Program program_;
    VerdictCase row_;
};

// "Verdicts/uplink_ingress/Replies.FirstReply/V4"
struct RowName {
    std::string suite;
    std::string test;
    auto operator<=>(const RowName&) const = default;
};

RowName name_of(const VerdictTable& table, const VerdictCase& row) {
    return {.suite = formatted("Verdicts/{}/{}", to_string(table.program), table.name),
            .test = row.name + (table.family.empty() ? "" : "/" + table.family)};
}

void register_row(SharedNode& shared, const VerdictTable& table, const VerdictCase& row) {
    const auto [suite, test] = name_of(table, row);
    ::testing::RegisterTest(suite.c_str(), test.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                            [&shared, program = table.program, row]() -> ::testing::Test* {
                                return new VerdictTest(shared, program, row);  // gtest deletes it
                            });
}

TEST(Coverage, EveryRowHasANameOfItsOwn) {
    std::set<RowName> names;
    for (const VerdictTable& table : all_tables()) {
        for (const VerdictCase& row : table.rows) {
            const RowName name = name_of(table, row);
            EXPECT_TRUE(names.insert(name).second) << name.suite << '.' << name.test;
        }
    }
}

// A counter that no row moves is one that nobody knows to work.
TEST(Coverage, EveryCounterHasARow) {
    // The kernel fails to change a packet only when it is out of memory, which PROG_RUN cannot bring about; it takes no
    // skb->tc_index from it: the wire test has real copies; one packet uses up no neighbours (flow_route_test.cpp); and
    // what a flow was ended for is counted for its container alone (netns/host_flow_test.cpp).
    const std::set<std::string> unreachable{"rewrite-failed", "copy-ended", "neighbour-share", "port-taken"};
    std::set<std::string> moved;
    for (const VerdictTable& table : all_tables()) {
        for (const VerdictCase& row : table.rows) {
            for (const auto& [name, count] : row.counted) {
                moved.insert(name);
            }
        }
    }
    for (const auto& [number, name, drop] : counter_names()) {
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
    // What is for the host's stack goes there by netkitd0.
    EXPECT_EQ(seen[Program::netkit_peer], (std::set{Verdict::drop, Verdict::redirect}));
    EXPECT_EQ(seen[Program::veth_ingress], (std::set{Verdict::drop, Verdict::redirect}));
    EXPECT_EQ(seen[Program::host_egress], (std::set{Verdict::drop, Verdict::redirect}));
    EXPECT_EQ(seen[Program::loopback_egress], (std::set{Verdict::pass, Verdict::drop, Verdict::redirect}));
    EXPECT_EQ(seen[Program::uplink_ingress], (std::set{Verdict::pass, Verdict::drop, Verdict::redirect}));
    EXPECT_EQ(seen[Program::uplink_egress], (std::set{Verdict::pass, Verdict::drop}));
}

}  // namespace
}  // namespace netkitd::test

// Rows are registered here, where what they are made of is initialised; googletest's own main() would be too late.
int main(int argc, char** argv) {
    using namespace netkitd::test;
    ::testing::InitGoogleMock(&argc, argv);
    auto* shared = new SharedNode;  // googletest deletes it
    ::testing::AddGlobalTestEnvironment(shared);
    for (const VerdictTable& table : all_tables()) {
        for (const VerdictCase& row : table.rows) {
            register_row(*shared, table, row);
        }
    }
    return RUN_ALL_TESTS();
}
