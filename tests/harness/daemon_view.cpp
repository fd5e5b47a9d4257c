#include "harness/daemon_view.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "datapath/pins.h"

namespace netkitd::test {
namespace {

constexpr const char* kBpffs = "/sys/fs/bpf";

}  // namespace

Result<DaemonView> DaemonView::open(const TestNode& node) {
    DaemonView view(std::filesystem::path(kBpffs) / formatted("netkitd-view-{}", ::getpid()));
    const datapath::Pins pins = NK_TRY(datapath::Pins::prepare(view.directory_.string()));
    for (const auto& [name, map] : {std::pair("flows4", node.flow_map(false)),
                                    {"flows6", node.flow_map(true)},
                                    {"flow_counts", node.flow_count_map()},
                                    {"counters", node.counter_map()}}) {
        if (bpf_obj_pin(map, pins.map(name).c_str()) != 0) {
            return fail_errno(errno, "pin {}", name);
        }
    }
    view.datapath_ = std::make_unique<datapath::Datapath>(NK_TRY(datapath::Datapath::open(view.directory_.string())));
    return view;
}

DaemonView::~DaemonView() {
    if (directory_.empty()) {
        return;  // moved from
    }
    datapath_.reset();
    if (const auto removed = datapath::Pins::remove_all(directory_.string()); !removed) {
        std::fprintf(stderr, "%s\n", removed.error().message().c_str());
    }
}

}  // namespace netkitd::test
