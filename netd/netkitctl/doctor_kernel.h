// The doctor's checks of the kernel and its file systems.
#pragma once

#include "netkitctl/doctor.h"

namespace netkitd::ctl {

[[nodiscard]] Finding check_superuser(const Host& host);
[[nodiscard]] Finding check_kernel(const Host& host);
[[nodiscard]] Finding check_netkit(const Host& host);
[[nodiscard]] Finding check_btf(const Host& host);
[[nodiscard]] Finding check_bpffs(const Host& host);
[[nodiscard]] Finding check_cgroup2(const Host& host);
[[nodiscard]] Finding check_ipv6(const Host& host);
[[nodiscard]] Finding check_jit(const Host& host);
[[nodiscard]] Finding check_unprivileged_bpf(const Host& host);

}  // namespace netkitd::ctl
