#include "harness/host_test.h"

#include <bpf/bpf.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <array>
#include <cstdlib>

#include "datapath/pins.h"

namespace netkitd::test {
namespace {

namespace fs = std::filesystem;

bool on_bpffs(const char* path) {
    struct statfs info{};
    return statfs(path, &info) == 0 && info.f_type == BPF_FS_MAGIC;
}

}  // namespace

void HostTest::SetUp() {
    NetnsTest::SetUp();
    if (IsSkipped()) {
        return;
    }
    if (!on_bpffs("/sys/fs/bpf")) {
        GTEST_SKIP() << "no bpf file system is mounted at /sys/fs/bpf";
    }
    std::string pattern = (fs::temp_directory_path() / "netkitd-test-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    bpffs_ = fs::path("/sys/fs/bpf") / directory_.filename();
    outside_.emplace();
    connect(node(), "up0", *outside_, "eth0");
    node().run("ip addr add 198.51.100.1/24 dev up0 && ip route add default via 198.51.100.2");
    outside_->run("ip addr add 198.51.100.2/24 dev eth0");
}

void HostTest::TearDown() {
    if (!bpffs_.empty()) {
        EXPECT_TRUE(datapath::Pins::remove_all(bpffs_));
        fs::remove_all(directory_);
    }
    NetnsTest::TearDown();
}

UniqueFd foreign_program(const char* name) {
    // r0 = TCX_NEXT; exit.
    const std::array<bpf_insn, 2> code{
        bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = -1},
        bpf_insn{.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    return UniqueFd(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, name, "GPL", code.data(), code.size(), nullptr));
}

}  // namespace netkitd::test
