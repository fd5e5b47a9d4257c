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
    bool SocketHooks::Wanted::* wanted;
};

std::vector<Hook> hooks_of(const netkitd_bpf& skeleton) {
    using Wanted = SocketHooks::Wanted;
    const auto& programs = skeleton.progs;
    return {{programs.socket_connect4, &Wanted::sockets},  {programs.socket_connect6, &Wanted::sockets},
            {programs.socket_peer4, &Wanted::sockets},     {programs.socket_peer6, &Wanted::sockets},
            {programs.socket_bind4, &Wanted::sockets},     {programs.socket_bind6, &Wanted::sockets},
            {programs.datagram_recv4, &Wanted::senders},   {programs.datagram_recv6, &Wanted::senders},
            {programs.datagram_send4, &Wanted::datagrams}, {programs.datagram_send6, &Wanted::datagrams}};
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
    for (const auto& [program, is_wanted] : hooks_of(*skeleton)) {
        if (wanted.*is_wanted) {
            NK_TRY(attach(*program, root));
        } else {
            NK_TRY(pins_.unpin_link(pin_of(*program)));
        }
    }
    return {};
}

Result<void> SocketHooks::follow(Wanted wanted) {
    return there_ == wanted ? Result<void>() : put(wanted);
}

Result<void> SocketHooks::put(Wanted wanted) {
    Result<void> changed = change_to(wanted);
    if (!changed) {
        there_.reset();
        keep_first(changed, change_to({}));
        return changed;
    }
    there_ = wanted;
    return changed;
}

}  // namespace netkitd::datapath
