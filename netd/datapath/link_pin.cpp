#include "datapath/link_pin.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <memory>

#include "base/unique_fd.h"

namespace netkitd::datapath {
namespace {

struct LinkCloser {
    void operator()(bpf_link* link) const {
        // A pinned link stays attached when the last descriptor goes; one that is not pinned is detached.
        bpf_link__destroy(link);
    }
};
using Link = std::unique_ptr<bpf_link, LinkCloser>;

// True: the pinned link has the program now. False: there is no usable pin at that path.
Result<bool> update_pinned(const std::string& path, bpf_program& program) {
    const Link link(bpf_link__open(path.c_str()));
    if (!link) {
        return errno == ENOENT ? Result<bool>(false) : fail_errno(errno, "open the pinned link {}", path);
    }
    const int error = bpf_link__update_program(link.get(), &program);
    if (error == 0) {
        return true;
    }
    if (error != -ENOLINK) {
        return fail_errno(-error, "replace the program of {}", path);
    }
    if (::unlink(path.c_str()) != 0) {
        return fail_errno(errno, "unpin {}", path);
    }
    return false;
}

std::unexpected<Error> cannot_attach(int error, const bpf_program& program) {
    const char* name = bpf_program__name(&program);
    // A link whose last pin is removed lives on for an RCU grace period and a work item (bpf_free_inode() in
    // kernel/bpf/inode.c, bpf_link_put()), or for as long as somebody has it open. Until then the kernel refuses the
    // same program at the same place (bpf_mprog_attach() in kernel/bpf/mprog.c).
    if (error == EEXIST) {
        return fail(ErrorKind::refused,
                    "attach {}: a former link, whose pin was removed, still holds it there; if that lasts, a process "
                    "has the link open: `bpftool link` shows it, end it",
                    name);
    }
    return fail_errno(error, "attach {}", name);
}

}  // namespace

Result<std::chrono::microseconds> pin_or_update(const std::string& path, bpf_program& program, const Attach& attach) {
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    if (NK_TRY(update_pinned(path, program))) {
        return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin);
    }
    const Link link(attach());
    if (!link) {
        return cannot_attach(errno, program);
    }
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin);
    if (const int error = bpf_link__pin(link.get(), path.c_str()); error != 0) {
        return fail_errno(-error, "pin {}", path);
    }
    return took;
}

Result<void> detach_pinned(const std::string& path) {
    const Link link(bpf_link__open(path.c_str()));
    if (!link) {
        return errno == ENOENT ? Result<void>() : fail_errno(errno, "open the pinned link {}", path);
    }
    const int error = bpf_link__detach(link.get());
    return error == 0 || error == -ENOLINK ? Result<void>() : fail_errno(-error, "detach the program of {}", path);
}

Result<std::uint32_t> program_of_link(const std::string& path) {
    const UniqueFd link(bpf_obj_get(path.c_str()));
    bpf_link_info info{};
    std::uint32_t size = sizeof(info);
    if (!link || bpf_link_get_info_by_fd(link.get(), &info, &size) != 0) {
        return fail_errno(errno, "look at the link {}", path);
    }
    return info.prog_id;
}

}  // namespace netkitd::datapath
