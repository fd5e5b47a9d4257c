// How large the programs are.
#include <gtest/gtest.h>

#include <string>

#include "bpf/bpf_test.h"

namespace netkitd::test {
namespace {

class ProgramSizeTest : public BpfTest {
protected:
    ProgramSizeTest() { options.netkit_peer = true; }
};

// The datapath's cost is watched: a jump here deserves a look at the generated code.
TEST_F(ProgramSizeTest, ProgramsStaySmall) {
    for (const auto& [program, limit] : {std::pair(Program::netkit_peer, 12700U),
                                         {Program::veth_ingress, 12700U},
                                         {Program::uplink_ingress, 7000U},
                                         {Program::uplink_egress, 3800U}}) {
        const auto count = node().instruction_count(program);
        ASSERT_TRUE(count) << count.error().message();
        RecordProperty(std::string(to_string(program)), static_cast<int>(*count));
        EXPECT_LE(*count, limit) << to_string(program);
    }
}

}  // namespace
}  // namespace netkitd::test
