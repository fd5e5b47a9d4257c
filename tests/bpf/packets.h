// The packets that this suite varies.
#pragma once

#include "harness/packet.h"

namespace netkitd::test {

[[nodiscard]] Packet from_web();       // TCP SYN from web's 50000 to 198.51.100.1:443
[[nodiscard]] Packet from_web_udp();   // the same ports, UDP
[[nodiscard]] Packet from_web_ping();  // echo request, id 50000
[[nodiscard]] Packet reply_to_web();   // TCP SYN ACK from there, to the node's 50000
// With the addresses that a packet has on its way to the next hop.
[[nodiscard]] Packet on_the_wire(Packet packet);

}  // namespace netkitd::test
