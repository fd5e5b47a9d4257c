// Random fragments of a conversation's packets.
#pragma once

#include <cstddef>

#include "bpf/nat_packets.h"
#include "bpf/nat_sent.h"
#include "bpf/random.h"

namespace netkitd::test {

// The `number`-th fragment of a packet that `whole` makes, which is cut into `count` (or fewer, if it is too small);
// with another seed, of another packet. One fragment is a packet that is whole.
[[nodiscard]] Sent fragment(Random& random, std::size_t number, std::size_t count,
                            const std::function<Sent(Random&)>& whole);

}  // namespace netkitd::test
