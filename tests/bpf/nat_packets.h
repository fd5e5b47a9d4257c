// Random packets of a conversation, in either direction: all that a NAT may meet in their headers.
#pragma once

#include <cstddef>
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

// What all protocols have in common: TTL, type of service, options, extension headers.
void add_network_layer(Random& random, Sent& sent, bool ipv6);
// A few have a wrong checksum.
void add_damage(Random& random, Sent& sent);

}  // namespace netkitd::test
