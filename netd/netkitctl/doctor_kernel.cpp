#include "netkitctl/doctor_kernel.h"

#include <linux/magic.h>

#include <string_view>
#include <utility>

#include "base/format.h"
#include "base/parse_number.h"
#include "base/quote.h"
#include "netkitctl/host_file.h"

namespace netkitd::ctl {
namespace {

using KernelVersion = std::pair<unsigned, unsigned>;

constexpr KernelVersion kFirstWithTcx{6, 6};
constexpr KernelVersion kFirstWithNetkit{6, 8};  // 6.7 has it, but not all that is relied on

// "6.12.57+deb13-cloud-amd64"
std::optional<KernelVersion> parse_release(std::string_view release) {
    const auto dot = release.find('.');
    if (dot == std::string_view::npos) {
        return std::nullopt;
    }
    const std::string_view rest = release.substr(dot + 1);
    const auto major = parse_number<unsigned>(release.substr(0, dot));
    const auto minor = parse_number<unsigned>(rest.substr(0, rest.find_first_not_of("0123456789")));
    return major && minor ? std::optional(KernelVersion(*major, *minor)) : std::nullopt;
}

}  // namespace

Finding check_superuser(const Host& host) {
    if (host.is_superuser) {
        return {.check = "root", .verdict = Verdict::ok, .text = "running as root", .fix = ""};
    }
    return {.check = "root",
            .verdict = Verdict::warn,
            .text = "not running as root: some checks see less than they should",
            .fix = "run it again as root: sudo netkitctl doctor"};
}

Finding check_kernel(const Host& host) {
    const auto version = parse_release(host.kernel_release);
    const std::string name = formatted("Linux {}", host.kernel_release);
    if (!version) {
        return {.check = "kernel",
                .verdict = Verdict::warn,
                .text = formatted("the kernel's release {} has no version to compare", quote(host.kernel_release)),
                .fix = "netkitd needs Linux 6.6 with veth, 6.8 with netkit"};
    }
    if (*version < kFirstWithTcx) {
        return {.check = "kernel",
                .verdict = Verdict::missing,
                .text = name + ": too old, it has no tcx (6.6), which every program of netkitd is attached by",
                .fix = "install Linux 6.8 or later (Debian 13 has 6.12: apt install linux-image-amd64)"};
    }
    if (*version < kFirstWithNetkit) {
        return {.check = "kernel",
                .verdict = Verdict::warn,
                .text = name + ": has tcx, but not the netkit that netkitd needs (6.8): containers get veth devices",
                .fix = "install Linux 6.8 or later"};
    }
    return {.check = "kernel", .verdict = Verdict::ok, .text = name + ": 6.8 or later", .fix = ""};
}

Finding check_netkit(const Host& host) {
    const Result<bool> supported = host.netkit_supported();
    if (!supported) {
        return {.check = "netkit",
                .verdict = Verdict::warn,
                .text = "could not be tried: " + supported.error().message(),
                .fix = "run it again as root"};
    }
    if (!*supported) {
        return {.check = "netkit",
                .verdict = Verdict::warn,
                .text = "this kernel makes no netkit devices: containers get veth devices, a little slower",
                .fix = "a kernel with CONFIG_NETKIT=y (Debian's cloud and generic kernels from 6.12 on)"};
    }
    return {.check = "netkit", .verdict = Verdict::ok, .text = "the kernel makes netkit devices", .fix = ""};
}

Finding check_btf(const Host& host) {
    if (std::filesystem::exists(path_on(host, "/sys/kernel/btf/vmlinux"))) {
        return {.check = "btf", .verdict = Verdict::ok, .text = "the kernel describes its types", .fix = ""};
    }
    return {.check = "btf",
            .verdict = Verdict::missing,
            .text = "/sys/kernel/btf/vmlinux cannot be read: the programs cannot be fitted to this kernel (CO-RE)",
            .fix = "a kernel with CONFIG_DEBUG_INFO_BTF=y (distributions' kernels have it), and sysfs mounted at /sys"};
}

Finding check_bpffs(const Host& host) {
    if (host.filesystem_type(path_on(host, "/sys/fs/bpf")) == BPF_FS_MAGIC) {
        return {.check = "bpffs", .verdict = Verdict::ok, .text = "mounted at /sys/fs/bpf", .fix = ""};
    }
    return {.check = "bpffs",
            .verdict = Verdict::missing,
            .text = "no bpffs at /sys/fs/bpf: nothing can be pinned, so traffic would stop with the daemon",
            .fix = "mount -t bpf bpf /sys/fs/bpf (systemd does it at boot)"};
}

Finding check_cgroup2(const Host& host) {
    if (host.filesystem_type(path_on(host, "/sys/fs/cgroup")) == CGROUP2_SUPER_MAGIC) {
        return {.check = "cgroup2", .verdict = Verdict::ok, .text = "cgroup v2 at /sys/fs/cgroup", .fix = ""};
    }
    return {.check = "cgroup2",
            .verdict = Verdict::warn,
            .text = "no cgroup v2 at /sys/fs/cgroup: this host's own connections do not reach published ports",
            .fix = "boot with systemd.unified_cgroup_hierarchy=1, or mount -t cgroup2 none /sys/fs/cgroup"};
}

Finding check_ipv6(const Host& host) {
    const auto disabled = read_on(host, "/proc/sys/net/ipv6/conf/lo/disable_ipv6");
    if (!disabled || *disabled != "0") {
        return {.check = "ipv6",
                .verdict = Verdict::warn,
                .text = disabled ? "IPv6 is turned off on this host: containers get IPv4 only"
                                 : "this kernel has no IPv6: containers get IPv4 only",
                .fix = disabled ? "sysctl -w net.ipv6.conf.all.disable_ipv6=0, or \"ipv6\": false for every network"
                                : "boot without ipv6.disable=1, or \"ipv6\": false for every network"};
    }
    // Linux 6.17 has it: Documentation/networking/ip-sysctl.rst
    const bool by_device = read_on(host, "/proc/sys/net/ipv6/conf/lo/force_forwarding").has_value();
    return {.check = "ipv6",
            .verdict = Verdict::ok,
            .text = by_device ? "IPv6 can be forwarded for the containers' devices alone"
                              : "before Linux 6.17 IPv6 is forwarded for the whole host: netkitd turns on "
                                "net.ipv6.conf.all.forwarding",
            .fix = ""};
}

Finding check_jit(const Host& host) {
    // 0 off, 1 on, 2 on and debugging: Documentation/admin-guide/sysctl/net.rst
    const auto value = read_on(host, "/proc/sys/net/core/bpf_jit_enable");
    if (value && *value != "0") {
        return {.check = "bpf-jit", .verdict = Verdict::ok, .text = "BPF programs are compiled", .fix = ""};
    }
    return {.check = "bpf-jit",
            .verdict = Verdict::warn,
            .text = value ? "the BPF compiler is off: every packet pays for an interpreter"
                          : "net.core.bpf_jit_enable cannot be read: this kernel may have no BPF compiler",
            .fix = value ? "sysctl -w net.core.bpf_jit_enable=1, and the same in /etc/sysctl.d"
                         : "a kernel with CONFIG_BPF_JIT=y"};
}

Finding check_unprivileged_bpf(const Host& host) {
    // 0 allowed, 1 and 2 forbidden: Documentation/admin-guide/sysctl/kernel.rst
    const auto value = read_on(host, "/proc/sys/kernel/unprivileged_bpf_disabled");
    if (value && *value == "0") {
        return {.check = "unprivileged-bpf",
                .verdict = Verdict::warn,
                .text = "every user may load BPF programs; netkitd does not need that",
                .fix = "sysctl -w kernel.unprivileged_bpf_disabled=2, and the same in /etc/sysctl.d"};
    }
    return {.check = "unprivileged-bpf",
            .verdict = Verdict::ok,
            .text = "only privileged users may load BPF programs",
            .fix = ""};
}

}  // namespace netkitd::ctl
