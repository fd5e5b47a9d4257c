// The daemon's datapath over the flow tables of a TestNode: what the daemon does to flows, done to those that a test
// makes by PROG_RUN.
#pragma once

#include <filesystem>
#include <memory>

#include "datapath/datapath.h"
#include "harness/prog_run.h"

namespace netkitd::test {

class DaemonView {
public:
    // Needs a bpf file system at /sys/fs/bpf. The flow tables and the counters are the node's.
    [[nodiscard]] static Result<DaemonView> open(const TestNode& node);
    DaemonView(DaemonView&&) noexcept = default;
    DaemonView& operator=(DaemonView&&) = delete;
    DaemonView(const DaemonView&) = delete;
    DaemonView& operator=(const DaemonView&) = delete;
    ~DaemonView();

    [[nodiscard]] const datapath::Datapath& datapath() const { return *datapath_; }

private:
    explicit DaemonView(std::filesystem::path directory) : directory_(std::move(directory)) {}

    std::filesystem::path directory_;  // of the pins
    std::unique_ptr<datapath::Datapath> datapath_;
};

}  // namespace netkitd::test
