#include "datapath/attached_programs.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <array>

#include "base/unique_fd.h"

namespace netkitd::datapath {
namespace {

Result<bpf_prog_info> info_of(int program) {
    bpf_prog_info info{};
    std::uint32_t size = sizeof(info);
    const int error = bpf_prog_get_info_by_fd(program, &info, &size);
    return error == 0 ? Result<bpf_prog_info>(info) : fail_errno(-error, "look at a BPF program");
}

// Empty for one that is gone by now.
std::string name_of(std::uint32_t id) {
    const UniqueFd program(bpf_prog_get_fd_by_id(id));
    const auto info = program ? info_of(program.get()) : fail_errno(ENOENT, "open BPF program {}", id);
    return info ? std::string(static_cast<const char*>(info->name)) : "";
}

}  // namespace

Result<std::vector<AttachedProgram>> attached_programs(std::uint32_t ifindex, bpf_attach_type type) {
    // BPF_MPROG_MAX, include/linux/bpf_mprog.h: an attach point holds no more.
    std::array<std::uint32_t, 64> ids{};
    LIBBPF_OPTS(bpf_prog_query_opts, query);
    query.prog_ids = ids.data();
    query.count = ids.size();
    // ENOENT: nothing was ever attached there.
    const int error = bpf_prog_query_opts(static_cast<int>(ifindex), type, &query);
    if (error != 0 && error != -ENOENT) {
        return fail_errno(-error, "list the programs of device {}", ifindex);
    }
    std::vector<AttachedProgram> programs;
    for (std::size_t i = 0; error == 0 && i < query.count; ++i) {
        programs.push_back({.id = ids.at(i), .name = name_of(ids.at(i))});
    }
    return programs;
}

Result<std::uint32_t> id_of(const bpf_program& program) {
    return NK_TRY(info_of(bpf_program__fd(&program))).id;
}

}  // namespace netkitd::datapath
