#include "datapath/address.h"

#include <cstring>

namespace netkitd::datapath {

nk_addr to_nk_addr(const IpAddr& address) {
    nk_addr result{};
    std::memcpy(&result, address.bytes().data(), address.size());
    return result;
}

IpAddr to_ip_addr(const nk_addr& address, IpFamily family) {
    if (family == IpFamily::v4) {
        return IpAddr::v4(in_addr{.s_addr = address.word[0]});
    }
    in6_addr bytes{};
    std::memcpy(&bytes, &address, sizeof(bytes));
    return IpAddr::v6(bytes);
}

}  // namespace netkitd::datapath
