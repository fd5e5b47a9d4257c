// One message over a SOCK_SEQPACKET socket, with the descriptors that travel beside it (SCM_RIGHTS, unix(7)).
//
// A text longer than kMaxMessageBytes (a long list, in a reply) goes in a sealed memfd: the message itself is then the
// word "memfd", and its one descriptor holds the text. Errors carry errno, so that EAGAIN on a non-blocking socket, or
// EPIPE, can be told from the rest.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace netkitd::ipc {

struct Message {
    std::string text;
    std::vector<UniqueFd> descriptors;
};

// The next message, or nothing when the peer has ended its side. The descriptors are close-on-exec. A message that is
// too long, or brings more than kMaxDescriptors, is an error of kind invalid; what came of it is closed.
[[nodiscard]] Result<std::optional<Message>> receive_message(int socket);

// Never raises SIGPIPE.
[[nodiscard]] Result<void> send_message(int socket, std::string_view text, std::span<const int> descriptors = {});

// A reply of any length up to kMaxLongReplyBytes, and its reader's side.
[[nodiscard]] Result<void> send_reply(int socket, std::string_view reply);
[[nodiscard]] Result<std::string> reply_text(Message message);

}  // namespace netkitd::ipc
