// Runs one of our programs that the daemon asks things of (bpf/abi.h): on an Ethernet header and the items behind it,
// which come back answered.
#pragma once

#include <bpf/bpf.h>
#include <linux/if_ether.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace netkitd::datapath {

// `at_once`: how many the program takes in a run. `what` it does is for messages.
template <typename Item>
[[nodiscard]] Result<void> run_program(int program, std::span<Item> items, std::size_t at_once, std::string_view what) {
    std::vector<std::byte> packet;
    while (!items.empty()) {
        const std::span<Item> now = items.first(std::min(items.size(), at_once));
        packet.assign(ETH_HLEN + now.size_bytes(), std::byte(0));
        std::memcpy(packet.data() + ETH_HLEN, now.data(), now.size_bytes());
        bpf_test_run_opts run{};
        run.sz = sizeof(run);
        run.data_in = run.data_out = packet.data();
        run.data_size_in = run.data_size_out = static_cast<__u32>(packet.size());
        if (const int error = bpf_prog_test_run_opts(program, &run); error != 0) {
            return fail_errno(-error, "{}", what);
        }
        if (run.retval != now.size()) {
            return fail(ErrorKind::internal, "{}: {} of {} answered", what, run.retval, now.size());
        }
        std::memcpy(now.data(), packet.data() + ETH_HLEN, now.size_bytes());
        items = items.subspan(now.size());
    }
    return {};
}

}  // namespace netkitd::datapath
