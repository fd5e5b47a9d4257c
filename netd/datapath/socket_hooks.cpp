#include "datapath/socket_hooks.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <array>
#include <vector>

#include "base/format.h"
#include "base/unique_fd.h"
#include "datapath/bpf_log.h"
#include "datapath/link_pin.h"

namespace netkitd::datapath {
namespace {

// Where systemd mounts them; the second one where the first is of version 1 (systemd's "hybrid" hierarchy).
constexpr std::array kCgroupRoots{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};

Result<std::string> cgroup_root() {
    for (const char* const root : kCgroupRoots) {
        struct statfs info{};
        if (statfs(root, &info) == 0 && info.f_type == CGROUP2_SUPER_MAGIC) {
            return root;
        }
    }
    return fail(ErrorKind::unavailable, "no cgroup2 file system is mounted on {}", kCgroupRoots.front());
}

struct Hook {
    bpf_program* program;
    bool for_datagrams;
};

std::vector<Hook> hooks_of(const netkitd_bpf& skeleton) {
    const auto& programs = skeleton.progs;
    return {{programs.socket_connect4, false}, {programs.socket_connect6, false}, {programs.socket_peer4, false},
            {programs.socket_peer6, false},    {programs.socket_bind4, false},    {programs.socket_bind6, false},
            {programs.datagram_send4, true},   {programs.datagram_send6, true},   {programs.datagram_recv4, true},
            {programs.datagram_recv6, true}};
}

std::string pin_of(const bpf_program& program) {
    return formatted("{}{}", kSocketPrefix, bpf_program__name(&program));
}

}  // namespace

Result<void> SocketHooks::attach(bpf_program& program, const std::string& root) const {
    const UniqueFd directory(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) {
        return fail_errno(errno, "open {}", root);
    }
    const BpfLog log;
    NK_TRY(pin_or_update(pins_.link(pin_of(program)), program,
                         [&] { return bpf_program__attach_cgroup(&program, directory.get()); }));
    return {};
}

Result<void> SocketHooks::change_to(Wanted wanted) const {
    // Their names do not depend on whether they are loaded.
    const netkitd_bpf* skeleton = wanted.sockets ? NK_TRY(programs_->need(Part::sockets)) : &programs_->base();
    const std::string root = wanted.sockets ? NK_TRY(cgroup_root()) : "";
    for (const auto& [program, for_datagrams] : hooks_of(*skeleton)) {
        if (for_datagrams ? wanted.datagrams : wanted.sockets) {
            NK_TRY(attach(*program, root));
        } else {
            NK_TRY(pins_.unpin_link(pin_of(*program)));
        }
    }
    return {};
}

Result<void> SocketHooks::follow(Wanted wanted) {
    if (there_ == wanted) {
        return {};
    }
    there_.reset();
    NK_TRY(change_to(wanted));
    there_ = wanted;
    return {};
}

Result<void> SocketHooks::put_back() {
    return there_ ? change_to(*there_) : Result<void>();
}

}  // namespace netkitd::datapath
