#include "datapath/socket_hooks.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <array>

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

std::array<bpf_program*, 6> hooks_of(const netkitd_bpf& skeleton) {
    const auto& programs = skeleton.progs;
    return {programs.socket_connect4, programs.socket_connect6, programs.socket_peer4,
            programs.socket_peer6,    programs.socket_bind4,    programs.socket_bind6};
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

Result<std::set<std::string>> SocketHooks::attach_all() const {
    const netkitd_bpf* skeleton = NK_TRY(programs_->need(Part::sockets));
    const std::string root = NK_TRY(cgroup_root());
    std::set<std::string> pins;
    for (bpf_program* program : hooks_of(*skeleton)) {
        NK_TRY(attach(*program, root));
        pins.insert(pin_of(*program));
    }
    return pins;
}

Result<void> SocketHooks::detach_others(const std::set<std::string>& attached) const {
    for (const std::string& name : NK_TRY(pins_.link_names())) {
        if (name.starts_with(kSocketPrefix) && !attached.contains(name)) {
            NK_TRY(pins_.unpin_link(name));
        }
    }
    return {};
}

Result<void> SocketHooks::follow(bool wanted) {
    return there_ == wanted ? Result<void>() : put(wanted);
}

Result<void> SocketHooks::put(bool wanted) {
    there_.reset();
    const auto attached = wanted ? attach_all() : Result<std::set<std::string>>();
    Result<void> changed = attached ? Result<void>() : std::unexpected(attached.error());
    keep_first(changed, detach_others(attached.value_or(std::set<std::string>())));
    if (changed) {
        there_ = wanted;
    }
    return changed;
}

}  // namespace netkitd::datapath
