// IP addresses as the programs' structures have them (abi.h), and back.
#pragma once

#include "abi.h"
#include "base/ip_addr.h"

namespace netkitd::datapath {

[[nodiscard]] nk_addr to_nk_addr(const IpAddr& address);
// The family is not in an nk_addr: which field it is of says it.
[[nodiscard]] IpAddr to_ip_addr(const nk_addr& address, IpFamily family);

}  // namespace netkitd::datapath
