#include "link/ipsec.h"

#include <linux/netlink.h>
#include <linux/xfrm.h>

#include <cstring>

#include "netlink/attributes.h"
#include "netlink/request.h"
#include "netlink/socket.h"

namespace netkitd::link {

Result<std::uint32_t> outbound_ipsec_policies() {
    auto xfrm = Netlink::open(NETLINK_XFRM);
    if (!xfrm) {
        return xfrm.error().system_error() == EPROTONOSUPPORT ? Result<std::uint32_t>(0)
                                                              : std::unexpected(std::move(xfrm).error());
    }
    NetlinkRequest request(XFRM_MSG_GETSPDINFO, 0, "count the IPsec policies");
    request.put_struct(std::uint32_t{0});
    std::uint32_t count = 0;
    NK_TRY(xfrm->query(request, [&](const nlmsghdr& message) {
        const auto info = NetlinkAttributes(message, sizeof(std::uint32_t)).bytes(XFRMA_SPD_INFO);
        if (info && info->size() >= sizeof(xfrmu_spdinfo)) {
            xfrmu_spdinfo counts{};
            std::memcpy(&counts, info->data(), sizeof(counts));
            count = counts.outcnt;
        }
    }));
    return count;
}

}  // namespace netkitd::link
