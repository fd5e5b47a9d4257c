// Which programs the kernel runs at an attach point, whoever put them there.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

struct bpf_program;

namespace netkitd::datapath {

struct AttachedProgram {
    std::uint32_t id = 0;
    std::string name;
};

// In the order in which they run. bpf(2), BPF_PROG_QUERY; for tcx the device must exist.
[[nodiscard]] Result<std::vector<AttachedProgram>> attached_programs(std::uint32_t ifindex, bpf_attach_type type);

// Of a loaded program.
[[nodiscard]] Result<std::uint32_t> id_of(const bpf_program& program);

}  // namespace netkitd::datapath
