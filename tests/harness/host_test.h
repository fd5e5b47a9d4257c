// A host in a network namespace of its own, with what a node needs of it: an uplink, and directories on a disk and on
// bpffs. Its uplink is `up0`, 198.51.100.1/24, to `outside` (198.51.100.2), which is its default route.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/unique_fd.h"
#include "harness/netns.h"

namespace netkitd::test {

class HostTest : public NetnsTest {
protected:
    void SetUp() override;
    void TearDown() override;

    [[nodiscard]] const NetworkNamespace& outside() const { return *outside_; }
    // Not there yet; removed at the end, pins and all.
    [[nodiscard]] const std::filesystem::path& bpffs() const { return bpffs_; }
    // What netkitd makes there (datapath/pins.h).
    [[nodiscard]] std::filesystem::path pins() const { return bpffs_ / "abi3"; }
    // A file of the test's own.
    [[nodiscard]] std::string scratch(const std::string& name) const { return directory_ / name; }

private:
    std::optional<NetworkNamespace> outside_;
    std::filesystem::path directory_;
    std::filesystem::path bpffs_;
};

// A container's netns as a runtime hands it over: with `lo` up.
class ContainerNamespace : public NetworkNamespace {
public:
    ContainerNamespace() { run("ip link set lo up"); }
};

// Another one's, for tcx, that lets every packet pass.
[[nodiscard]] UniqueFd foreign_program(const char* name);

}  // namespace netkitd::test
