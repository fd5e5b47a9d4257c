#include "bpf/packets.h"

#include "harness/prog_run.h"

namespace netkitd::test {

Packet from_web() {
    return Packet().ipv4("10.77.0.2", "198.51.100.1").tcp(50000, 443).syn().payload("hello");
}

Packet from_web_udp() {
    return Packet().ipv4("10.77.0.2", "198.51.100.1").udp(50000, 443).payload("hello");
}

Packet from_web_ping() {
    return Packet().ipv4("10.77.0.2", "198.51.100.1").echo_request(50000).payload("hello");
}

Packet reply_to_web() {
    return Packet().eth(kUplinkMac, kRouterMac).ipv4("198.51.100.1", "203.0.113.2").tcp(443, 50000).syn().ack();
}

Packet on_the_wire(Packet packet) {
    return packet.eth(kRouterMac, kUplinkMac).ttl(63);
}

}  // namespace netkitd::test
