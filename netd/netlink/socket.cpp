#include "netlink/socket.h"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <system_error>
#include <vector>

#include "base/join.h"
#include "netlink/align.h"
#include "netlink/attributes.h"
#include "netlink/netns.h"
#include "netlink/request.h"

namespace netkitd::link {
namespace {

// rtnetlink works inside sendmsg, so an answer is there when it returns; a wait this long means that it was lost.
constexpr timeval kAnswerTimeout{.tv_sec = 5, .tv_usec = 0};
// Acknowledgements queue up in the receive buffer while one write is carried out; 64 of them fit the smallest default.
constexpr std::size_t kBatch = 64;
// A dump that is interrupted this often by changes never ends; the caller's own retry is the better place to wait.
constexpr int kDumpAttempts = 16;

struct ReceiveBuffer {
    alignas(nlmsghdr) std::array<std::byte, MNL_SOCKET_DUMP_SIZE> bytes{};
};

Result<std::span<std::byte>> receive(const mnl_socket& socket, ReceiveBuffer& buffer, const std::string& what) {
    ssize_t size = 0;
    do {
        size = mnl_socket_recvfrom(&socket, buffer.bytes.data(), buffer.bytes.size());
    } while (size < 0 && errno == EINTR);
    if (size < 0 && errno == EAGAIN) {
        return std::unexpected(Error(ErrorKind::internal,
                                     formatted("{}: no answer from the kernel in {} s", what, kAnswerTimeout.tv_sec),
                                     ETIMEDOUT));
    }
    if (size < 0) {
        return fail_errno(errno, "{}: read the kernel's answer", what);
    }
    return std::span(buffer.bytes).first(static_cast<std::size_t>(size));
}

// Calls `handle` for each message in `bytes` that answers one of our requests; others are left-overs of a failed one.
template <typename Handle>
Result<void> for_each_message(std::span<const std::byte> bytes, const Handle& handle) {
    int rest = static_cast<int>(bytes.size());
    const auto* message = reinterpret_cast<const nlmsghdr*>(bytes.data());
    for (; mnl_nlmsg_ok(message, rest); message = mnl_nlmsg_next(message, &rest)) {
        if (Result<void> handled = handle(*message); !handled) {
            return handled;
        }
    }
    return {};
}

// The attribute of the request that starts at `offset` (NLMSGERR_ATTR_OFFS).
std::string name_attribute(const nlmsghdr& request, std::uint32_t offset) {
    if (offset < kMessageHeaderSize || offset + kAttributeHeaderSize > request.nlmsg_len) {
        return formatted("at byte {}", offset);
    }
    const auto* attribute =
        reinterpret_cast<const nlattr*>(reinterpret_cast<const std::byte*>(&request) + std::size_t{offset});
    return formatted("attribute type {} at byte {}", mnl_attr_get_type(attribute), offset);
}

// The extended ack's text in parentheses, with a leading space; empty if there is none.
std::string describe_extended_ack(const NetlinkRequest& request, const NetlinkAttributes& extended_ack) {
    std::vector<std::string> parts;
    if (const auto message = extended_ack.string(NLMSGERR_ATTR_MSG).value_or(""); !message.empty()) {
        parts.push_back(message);
    }
    if (const auto offset = extended_ack.u32(NLMSGERR_ATTR_OFFS)) {
        parts.push_back(name_attribute(request.message(), *offset));
    }
    if (const auto missing = extended_ack.u32(NLMSGERR_ATTR_MISS_TYPE)) {
        parts.push_back(formatted("attribute type {} is missing", *missing));
    }
    return parts.empty() ? "" : formatted(" ({})", join(parts));
}

Error kernel_error(const NetlinkRequest& request, int error, const NetlinkAttributes& extended_ack) {
    return {ErrorKind::internal,
            formatted("{}: {}{}", request.what(), std::generic_category().message(error),
                      describe_extended_ack(request, extended_ack)),
            error};
}

// Behind the error code, and behind a copy of the request unless NETLINK_CAP_ACK cut that to its header.
NetlinkAttributes extended_ack_of(const nlmsghdr& message, const nlmsgerr& error) {
    if ((message.nlmsg_flags & NLM_F_ACK_TLVS) == 0) {
        return {};
    }
    std::size_t skipped = sizeof(nlmsgerr);
    if ((message.nlmsg_flags & NLM_F_CAPPED) == 0 && error.msg.nlmsg_len > kMessageHeaderSize) {
        skipped += error.msg.nlmsg_len - kMessageHeaderSize;
    }
    return {message, skipped};
}

// NLMSG_ERROR: an acknowledgement (0) or the errno that the request failed with.
Result<void> judge_acknowledgement(const NetlinkRequest& request, const nlmsghdr& message) {
    const auto error = fixed_part<nlmsgerr>(message);
    if (!error) {
        return fail(ErrorKind::internal, "{}: the kernel's answer is cut short", request.what());
    }
    if (error->error == 0) {
        return {};
    }
    return std::unexpected(kernel_error(request, -error->error, extended_ack_of(message, *error)));
}

// NLMSG_DONE may carry the errno that a dump ended with.
Result<void> judge_end_of_dump(const NetlinkRequest& request, const nlmsghdr& message) {
    const int error = fixed_part<int>(message).value_or(0);
    if (error >= 0) {
        return {};
    }
    const bool extended = (message.nlmsg_flags & NLM_F_ACK_TLVS) != 0;
    return std::unexpected(
        kernel_error(request, -error, extended ? NetlinkAttributes(message, sizeof(int)) : NetlinkAttributes()));
}

Result<void> send(const mnl_socket& socket, std::span<NetlinkRequest> requests) {
    std::vector<iovec> parts;
    parts.reserve(requests.size());
    for (NetlinkRequest& request : requests) {
        parts.push_back({.iov_base = &request.message(), .iov_len = request.message().nlmsg_len});
    }
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    msghdr header{};
    header.msg_name = &kernel;
    header.msg_namelen = sizeof(kernel);
    header.msg_iov = parts.data();
    header.msg_iovlen = parts.size();
    while (::sendmsg(mnl_socket_get_fd(&socket), &header, MSG_NOSIGNAL) < 0) {
        if (errno != EINTR) {
            return fail_errno(errno, "{}: send to the kernel", requests.front().what());
        }
    }
    return {};
}

Result<void> set_options(mnl_socket& socket) {
    int on = 1;
    for (const int option : {NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK}) {
        if (mnl_socket_setsockopt(&socket, option, &on, sizeof(on)) < 0) {
            return fail_errno(errno, "set netlink option {} (netlink(7))", option);
        }
    }
    if (::setsockopt(mnl_socket_get_fd(&socket), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout, sizeof(kAnswerTimeout)) <
        0) {
        return fail_errno(errno, "set the receive timeout of a netlink socket");
    }
    return {};
}

// One dump or get, collected whole; `interrupted` if the kernel says that it changed while it was read.
struct Answer {
    std::vector<std::byte> messages;
    bool interrupted = false;
    bool complete = false;
};

Result<void> collect(const NetlinkRequest& request, const nlmsghdr& message, Answer& answer) {
    answer.interrupted |= (message.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    if (message.nlmsg_type == NLMSG_DONE) {
        answer.complete = true;
        return judge_end_of_dump(request, message);
    }
    if (message.nlmsg_type == NLMSG_ERROR) {
        answer.complete = true;
        return judge_acknowledgement(request, message);
    }
    const auto* begin = reinterpret_cast<const std::byte*>(&message);
    answer.messages.insert(answer.messages.end(), begin, begin + message.nlmsg_len);
    answer.messages.resize(netlink_align(answer.messages.size()));
    return {};
}

}  // namespace

Netlink::Netlink(mnl_socket* socket) : socket_(socket) {}

void Netlink::Closer::operator()(mnl_socket* socket) const {
    mnl_socket_close(socket);
}

Result<Netlink> Netlink::open(int protocol) {
    mnl_socket* socket = mnl_socket_open2(protocol, SOCK_CLOEXEC);
    if (socket == nullptr) {
        return fail_errno(errno, "open a netlink socket");
    }
    Netlink netlink(socket);
    if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        return fail_errno(errno, "bind a netlink socket");
    }
    NK_TRY(set_options(*socket));
    return netlink;
}

Result<Netlink> Netlink::open_in(int netns_fd) {
    Result<Netlink> netlink = fail(ErrorKind::internal, "the network namespace was not entered");
    NK_TRY(in_netns(netns_fd, [&]() -> Result<void> {
        netlink = open();
        return {};
    }));
    return netlink;
}

Result<std::uint64_t> Netlink::netns_cookie() const {
    return netns_cookie_of_socket(mnl_socket_get_fd(socket_.get()));
}

Result<void> Netlink::transact(NetlinkRequest& request) {
    return transact(std::span(&request, 1));
}

Result<void> Netlink::transact(std::span<NetlinkRequest> requests) {
    Result<void> outcome;
    while (!requests.empty()) {
        const auto batch = requests.first(std::min(requests.size(), kBatch));
        if (Result<void> sent = transact_batch(batch); !sent && outcome) {
            outcome = std::move(sent);
        }
        requests = requests.subspan(batch.size());
    }
    return outcome;
}

Result<void> Netlink::transact_batch(std::span<NetlinkRequest> batch) {
    const std::uint32_t first = sequence_ + 1;
    for (NetlinkRequest& request : batch) {
        request.message().nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
        request.message().nlmsg_seq = ++sequence_;
    }
    NK_TRY(send(*socket_, batch));

    Result<void> outcome;
    ReceiveBuffer buffer;
    for (std::size_t acknowledged = 0; acknowledged < batch.size();) {
        const auto bytes = NK_TRY(receive(*socket_, buffer, batch[acknowledged].what()));
        NK_TRY(for_each_message(bytes, [&](const nlmsghdr& message) -> Result<void> {
            // Unsigned on purpose: a left-over of an earlier request wraps to a large number.
            const std::uint32_t index = message.nlmsg_seq - first;
            if (message.nlmsg_type != NLMSG_ERROR || index >= batch.size()) {
                return {};
            }
            ++acknowledged;
            if (Result<void> judged = judge_acknowledgement(batch[index], message); !judged && outcome) {
                outcome = std::move(judged);
            }
            return {};
        }));
    }
    return outcome;
}

Result<void> Netlink::query(NetlinkRequest& request, const std::function<void(const nlmsghdr&)>& handle) {
    // A dump ends with NLMSG_DONE; a get ends with nothing, unless an acknowledgement is asked for.
    const bool dump = (request.message().nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
    request.message().nlmsg_flags |= static_cast<std::uint16_t>(NLM_F_REQUEST | (dump ? 0 : NLM_F_ACK));

    ReceiveBuffer buffer;
    for (int attempt = 0; attempt < kDumpAttempts; ++attempt) {
        request.message().nlmsg_seq = ++sequence_;
        NK_TRY(send(*socket_, std::span(&request, 1)));
        Answer answer;
        while (!answer.complete) {
            const auto bytes = NK_TRY(receive(*socket_, buffer, request.what()));
            NK_TRY(for_each_message(bytes, [&](const nlmsghdr& message) -> Result<void> {
                return message.nlmsg_seq == sequence_ ? collect(request, message, answer) : Result<void>();
            }));
        }
        if (!answer.interrupted) {
            return for_each_message(answer.messages, [&](const nlmsghdr& message) -> Result<void> {
                handle(message);
                return {};
            });
        }
    }
    return fail(ErrorKind::unavailable, "{}: it changed {} times while it was read; try again", request.what(),
                kDumpAttempts);
}

}  // namespace netkitd::link
