#include "harness/router_advertisement.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/format.h"
#include "base/ip_addr.h"

namespace netkitd::test {
namespace {

void set_option(int fd, int option, int value) {
    ASSERT_EQ(::setsockopt(fd, IPPROTO_IPV6, option, &value, sizeof(value)), 0);
}

struct Advertisement {
    nd_router_advert router{};
    nd_opt_prefix_info prefix{};
};

void send_advertisement(const std::string& device, const void* message, std::size_t size) {
    const UniqueFd fd(::socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6));  // the kernel adds the checksum
    if (fd.get() < 0) {
        FAIL() << "a raw socket needs root";
    }
    set_option(fd.get(), IPV6_MULTICAST_IF, static_cast<int>(::if_nametoindex(device.c_str())));
    set_option(fd.get(), IPV6_MULTICAST_HOPS, 255);  // RFC 4861, section 6.1.2
    sockaddr_in6 all_nodes{};
    all_nodes.sin6_family = AF_INET6;
    all_nodes.sin6_addr = {{{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01}}};
    ASSERT_EQ(::sendto(fd.get(), message, size, 0, reinterpret_cast<const sockaddr*>(&all_nodes), sizeof(all_nodes)),
              static_cast<ssize_t>(size));
}

// The source of advertisements is of the link (RFC 4861, section 6.1.2).
void send_as_router(const NetworkNamespace& router, const std::string& device, const void* message, std::size_t size) {
    router.run(formatted("ip addr replace fe80::1/64 dev {} nodad", device));
    router.inside([&] { send_advertisement(device, message, size); });
}

constexpr std::uint32_t kLifetimeSeconds = 1800;

}  // namespace

void advertise_router(const NetworkNamespace& router, const std::string& device) {
    nd_router_advert message{};
    message.nd_ra_hdr.icmp6_type = ND_ROUTER_ADVERT;
    message.nd_ra_router_lifetime = htons(kLifetimeSeconds);
    send_as_router(router, device, &message, sizeof(message));
}

void advertise_prefix(const NetworkNamespace& router, const std::string& device, const std::string& prefix) {
    const IpPrefix parsed = IpPrefix::parse(prefix).value();
    Advertisement message;
    message.router.nd_ra_hdr.icmp6_type = ND_ROUTER_ADVERT;
    message.prefix.nd_opt_pi_type = ND_OPT_PREFIX_INFORMATION;
    message.prefix.nd_opt_pi_len = sizeof(message.prefix) / 8;
    message.prefix.nd_opt_pi_prefix_len = parsed.length();
    message.prefix.nd_opt_pi_flags_reserved = ND_OPT_PI_FLAG_ONLINK | (parsed.length() == 64 ? ND_OPT_PI_FLAG_AUTO : 0);
    message.prefix.nd_opt_pi_valid_time = htonl(kLifetimeSeconds);
    message.prefix.nd_opt_pi_preferred_time = htonl(kLifetimeSeconds);
    ASSERT_EQ(::inet_pton(AF_INET6, parsed.address().to_string().c_str(), &message.prefix.nd_opt_pi_prefix), 1);
    send_as_router(router, device, &message, sizeof(message));
}

}  // namespace netkitd::test
