#include "link/host_sockets.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/format.h"
#include "base/parse_number.h"
#include "base/quote.h"
#include "base/read_file.h"
#include "netlink/attributes.h"
#include "netlink/request.h"
#include "netlink/socket.h"

namespace netkitd::link {
namespace {

namespace fs = std::filesystem;

std::optional<HostSocket> read_socket(const nlmsghdr& message) {
    const auto socket = fixed_part<inet_diag_msg>(message);
    if (message.nlmsg_type != SOCK_DIAG_BY_FAMILY || !socket) {
        return std::nullopt;
    }
    in6_addr v6{};
    std::memcpy(&v6, socket->id.idiag_src, sizeof(v6));
    return HostSocket{.address = socket->idiag_family == AF_INET ? IpAddr::v4({.s_addr = socket->id.idiag_src[0]})
                                 : IN6_IS_ADDR_V4MAPPED(&v6)     ? IpAddr::v4({.s_addr = socket->id.idiag_src[3]})
                                                                 : IpAddr::v6(v6),
                      .port = ntohs(socket->id.idiag_sport),
                      .inode = socket->idiag_inode};
}

bool has_socket(const fs::path& process, const std::string& link) {
    std::error_code error;
    for (const auto& descriptor : fs::directory_iterator(process / "fd", error)) {
        if (fs::read_symlink(descriptor.path(), error) == link) {
            return true;
        }
    }
    return false;
}

}  // namespace

bool HostSocket::is_wildcard() const {
    return std::ranges::all_of(address.bytes(), [](std::uint8_t byte) { return byte == 0; });
}

bool HostSocket::takes(const IpAddr& own) const {
    return address == own || (is_wildcard() && (address.is_v4() == own.is_v4() || !address.is_v4()));
}

Result<std::vector<HostSocket>> host_sockets(std::uint8_t protocol) {
    std::vector<HostSocket> sockets;
    if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) {
        return sockets;
    }
    Netlink diag = NK_TRY(Netlink::open(NETLINK_SOCK_DIAG));
    for (const int family : {AF_INET, AF_INET6}) {
        NetlinkRequest request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, "list the host's sockets");
        inet_diag_req_v2 wanted{};
        wanted.sdiag_family = static_cast<__u8>(family);
        wanted.sdiag_protocol = protocol;
        // TCP's that are only bound are among them since Linux 6.8 (TCP_BOUND_INACTIVE, net/ipv4/inet_diag.c).
        wanted.idiag_states = ~0U;
        request.put_struct(wanted);
        NK_TRY(diag.query(request, [&](const nlmsghdr& message) {
            if (auto socket = read_socket(message); socket && socket->inode != 0) {
                sockets.push_back(*socket);
            }
        }));
    }
    return sockets;
}

std::string holder_of(std::uint32_t inode) {
    constexpr std::size_t kMaxName = 64;
    const std::string link = formatted("socket:[{}]", inode);
    std::error_code error;
    for (const auto& process : fs::directory_iterator("/proc", error)) {
        const std::string pid = process.path().filename();
        if (parse_number<std::uint32_t>(pid) && has_socket(process.path(), link)) {
            std::string name = read_file((process.path() / "comm").string(), kMaxName).value_or("?");
            name.erase(name.find_last_not_of('\n') + 1);
            return formatted("{}, pid {}", quote(name), pid);
        }
    }
    return "somebody";
}

}  // namespace netkitd::link
