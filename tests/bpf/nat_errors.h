// Random ICMP errors about a conversation's packets, in either direction: whole quotes and short ones, of packets with
// options and extension headers, of fragments, and of packets that nobody sent.
#pragma once

#include <cstdint>

#include "bpf/nat_model.h"
#include "bpf/random.h"

namespace netkitd::test {

// From a router or the remote, about what left the node from that port.
[[nodiscard]] SentError error_in(Random& random, const Conversation& c, std::uint16_t port);
// From the container, about what it received from the remote.
[[nodiscard]] SentError error_out(Random& random, const Conversation& c);

}  // namespace netkitd::test
