#include "harness/router_advertisement.h"

#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/format.h"

namespace netkitd::test {
namespace {

void set_option(int fd, int option, int value) {
    ASSERT_EQ(::setsockopt(fd, IPPROTO_IPV6, option, &value, sizeof(value)), 0);
}

void send_advertisement(const std::string& device) {
    const UniqueFd fd(::socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6));  // the kernel adds the checksum
    if (fd.get() < 0) {
        FAIL() << "a raw socket needs root";
    }
    set_option(fd.get(), IPV6_MULTICAST_IF, static_cast<int>(::if_nametoindex(device.c_str())));
    set_option(fd.get(), IPV6_MULTICAST_HOPS, 255);  // RFC 4861, section 6.1.2
    sockaddr_in6 all_nodes{};
    all_nodes.sin6_family = AF_INET6;
    all_nodes.sin6_addr = {{{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01}}};
    nd_router_advert message{};
    message.nd_ra_hdr.icmp6_type = ND_ROUTER_ADVERT;
    message.nd_ra_router_lifetime = htons(1800);  // seconds
    ASSERT_EQ(::sendto(fd.get(), &message, sizeof(message), 0, reinterpret_cast<const sockaddr*>(&all_nodes),
                       sizeof(all_nodes)),
              static_cast<ssize_t>(sizeof(message)));
}

}  // namespace

void advertise_router(const NetworkNamespace& router, const std::string& device) {
    router.run(formatted("ip addr replace fe80::1/64 dev {} nodad", device));
    router.inside([&] { send_advertisement(device); });
}

}  // namespace netkitd::test
