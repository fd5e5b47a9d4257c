#include "ipc/message.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cstring>

#include "ipc/protocol.h"

namespace netkitd::ipc {
namespace {

constexpr std::string_view kInMemory = "memfd";
// Large enough for 100,000 flows, small enough not to fill a node's memory.
constexpr std::size_t kMaxLongReplyBytes = 64UL * 1024 * 1024;
constexpr unsigned kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

// CMSG_SPACE rounds up to 8 bytes: 2 descriptors fill it exactly, so that a third one sets MSG_CTRUNC.
using ControlBuffer = std::array<char, CMSG_SPACE(sizeof(int) * kMaxDescriptors)>;
static_assert(CMSG_SPACE(sizeof(int) * kMaxDescriptors) < CMSG_LEN(sizeof(int) * (kMaxDescriptors + 1)));

std::vector<UniqueFd> take_descriptors(msghdr& header) {
    std::vector<UniqueFd> descriptors;
    for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const std::size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(fd));
            descriptors.emplace_back(fd);
        }
    }
    return descriptors;
}

Result<void> write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = TEMP_FAILURE_RETRY(::write(fd, text.data(), text.size()));
        if (written < 0) {
            return fail_errno(errno, "write a reply of {} bytes into memory", text.size());
        }
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
}

Result<std::string> read_sealed(int fd) {
    // Without the seals the sender could cut the file while it is read.
    const int seals = ::fcntl(fd, F_GET_SEALS);
    struct stat status{};
    if (seals < 0 || (static_cast<unsigned>(seals) & kSeals) != kSeals || ::fstat(fd, &status) != 0) {
        return fail(ErrorKind::internal, "netkitd's long reply is not a sealed memory file");
    }
    const auto size = static_cast<std::size_t>(status.st_size);
    if (size > kMaxLongReplyBytes) {
        return fail(ErrorKind::internal, "netkitd's reply is {} bytes long, at most {} are read", size,
                    kMaxLongReplyBytes);
    }
    std::string text(size, '\0');
    for (std::size_t done = 0; done < size;) {
        const ssize_t count =
            TEMP_FAILURE_RETRY(::pread(fd, text.data() + done, size - done, static_cast<off_t>(done)));
        if (count <= 0) {
            return fail_errno(count < 0 ? errno : EIO, "read netkitd's long reply");
        }
        done += static_cast<std::size_t>(count);
    }
    return text;
}

}  // namespace

Result<std::optional<Message>> receive_message(int socket) {
    std::string text(kMaxMessageBytes, '\0');
    ControlBuffer control{};
    iovec part{.iov_base = text.data(), .iov_len = text.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t received = TEMP_FAILURE_RETRY(::recvmsg(socket, &header, MSG_CMSG_CLOEXEC));
    if (received < 0) {
        return fail_errno(errno, "receive a message");
    }
    std::vector<UniqueFd> descriptors = take_descriptors(header);
    const auto flags = static_cast<unsigned>(header.msg_flags);
    if ((flags & MSG_TRUNC) != 0) {
        return fail(ErrorKind::invalid, "the message is longer than {} bytes", kMaxMessageBytes);
    }
    if ((flags & MSG_CTRUNC) != 0) {
        return fail(
            ErrorKind::invalid,
            "the message brings more than {} descriptors, or the receiver is out of descriptors (RLIMIT_NOFILE)",
            kMaxDescriptors);
    }
    // The end of the stream and an empty message look alike; neither is a message.
    if (received == 0) {
        return std::nullopt;
    }
    text.resize(static_cast<std::size_t>(received));
    return Message{.text = std::move(text), .descriptors = std::move(descriptors)};
}

Result<void> send_message(int socket, std::string_view text, std::span<const int> descriptors) {
    if (text.empty() || text.size() > kMaxMessageBytes || descriptors.size() > kMaxDescriptors) {
        return fail(ErrorKind::internal, "a message of {} bytes and {} descriptors can't be sent", text.size(),
                    descriptors.size());
    }
    // msghdr has no const: sendmsg(2) only reads.
    std::string payload(text);
    ControlBuffer control{};
    iovec part{.iov_base = payload.data(), .iov_len = payload.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (!descriptors.empty()) {
        header.msg_control = control.data();
        header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
        cmsghdr* rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(descriptors.size_bytes());
        std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size_bytes());
    }
    if (TEMP_FAILURE_RETRY(::sendmsg(socket, &header, MSG_NOSIGNAL)) < 0) {
        return fail_errno(errno, "send a message");
    }
    return {};
}

Result<void> send_reply(int socket, std::string_view reply) {
    if (reply.size() <= kMaxMessageBytes) {
        return send_message(socket, reply);
    }
    if (reply.size() > kMaxLongReplyBytes) {
        return fail(ErrorKind::exhausted, "the reply is {} bytes long, at most {} can be sent", reply.size(),
                    kMaxLongReplyBytes);
    }
    const UniqueFd memory(::memfd_create("netkitd-reply", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memory) {
        return fail_errno(errno, "make a memory file for a reply");
    }
    NK_TRY(write_all(memory.get(), reply));
    if (::fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0) {
        return fail_errno(errno, "seal a reply");
    }
    const std::array descriptors{memory.get()};
    return send_message(socket, kInMemory, descriptors);
}

Result<std::string> reply_text(Message message) {
    if (message.descriptors.empty()) {
        return std::move(message.text);
    }
    if (message.text != kInMemory || message.descriptors.size() != 1) {
        return fail(ErrorKind::internal, "netkitd's reply brings descriptors that nobody asked for");
    }
    return read_sealed(message.descriptors.front().get());
}

}  // namespace netkitd::ipc
