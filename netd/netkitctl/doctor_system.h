// The doctor's checks of what is installed: container runtimes, the hook, the service, name resolution.
#pragma once

#include "netkitctl/doctor.h"

namespace netkitd::ctl {

[[nodiscard]] Finding check_runtimes(const Host& host);
[[nodiscard]] Finding check_hook(const Host& host);
[[nodiscard]] Finding check_service(const Host& host);
[[nodiscard]] Finding check_name_servers(const Host& host);
[[nodiscard]] Finding check_uplinks(const Host& host);
[[nodiscard]] Finding check_ipsec(const Host& host);
[[nodiscard]] Finding check_firewall(const Host& host);
[[nodiscard]] Finding check_host_services(const Host& host);
[[nodiscard]] Finding check_published_ports(const Host& host);
[[nodiscard]] Finding check_other_nats(const Host& host);
[[nodiscard]] Finding check_last_errors(const Host& host);

}  // namespace netkitd::ctl
