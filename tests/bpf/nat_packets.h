// Random packets of a conversation, in either direction: all that a NAT may meet in their headers.
#pragma once

#include <cstdint>
#include <functional>

#include "bpf/nat_model.h"
#include "bpf/random.h"

namespace netkitd::test {

using Translate = std::function<Packet(const Packet&)>;

// From the container. `translate`: as far as it is known, what it becomes.
[[nodiscard]] Sent packet_out(Random& random, const Conversation& c, const Translate& translate);
// From the remote to a port of the node.
[[nodiscard]] Sent packet_in(Random& random, const Conversation& c, std::uint16_t port);

}  // namespace netkitd::test
