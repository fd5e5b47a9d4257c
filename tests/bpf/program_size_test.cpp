// How large the programs are.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "bpf/bpf_test.h"

namespace netkitd::test {
namespace {

class ProgramSizeTest : public BpfTest {
protected:
    ProgramSizeTest() { options.netkit_peer = options.loopback_egress = true; }
};

struct Limit {
    Program program;
    std::uint32_t instructions;
    std::uint32_t verified;
};

// The datapath's cost is watched: a jump here deserves a look at the generated code. So is that of its load, which each
// start of the daemon pays, and most tests.
TEST_F(ProgramSizeTest, ProgramsStaySmall) {
    for (const Limit& limit : {Limit{Program::netkit_peer, 19700, 130'000},
                               {Program::veth_ingress, 19700, 130'000},
                               {Program::uplink_ingress, 9900, 58'000},
                               {Program::uplink_egress, 4600, 34'000},
                               {Program::loopback_egress, 7200, 46'000}}) {
        const auto size = node().size_of(limit.program);
        ASSERT_TRUE(size) << size.error().message();
        RecordProperty(std::string(to_string(limit.program)), static_cast<int>(size->instructions));
        EXPECT_LE(size->instructions, limit.instructions) << to_string(limit.program);
        EXPECT_LE(size->verified, limit.verified) << to_string(limit.program);
    }
}

}  // namespace
}  // namespace netkitd::test
