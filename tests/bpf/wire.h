// Real packets through the attached programs, in veth mode: containers, the node and a router outside, each in a
// network namespace of its own, and sockets in them.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>
#include <string>

#include "bpf/bpf_test.h"
#include "bpf/packets.h"

namespace netkitd::test {

struct Address {
    std::string ip;
    std::uint16_t port = 0;
    bool operator==(const Address&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Address& address);

[[nodiscard]] UniqueFd bound_socket(const NetworkNamespace& netns, int type, const Address& address);
void connect_to(int fd, const Address& address);
// The packet as it is, its Ethernet header too.
void send_frame(const NetworkNamespace& netns, const std::string& device, const Packet& packet);
// Within three seconds.
[[nodiscard]] bool readable(int fd);

// Connected by TCP; both ends in this one thread.
struct Connection {
    UniqueFd client;
    UniqueFd server;
    Address seen;  // the client, as the server sees it
};
[[nodiscard]] Connection connect_tcp(const NetworkNamespace& from, const Address& own, const NetworkNamespace& to,
                                     const Address& server);
// As much as fits into both buffers at once, so that one thread can send and then receive. Empty, or what went wrong.
[[nodiscard]] std::string transfer(int from, int to);

// web and db in namespaces of their own, and an outside router that also is the remote server. No NIC computes or
// trusts a checksum, so a wrong one loses the packet.
class WireTest : public BpfTest, public ::testing::WithParamInterface<const Net*> {
protected:
    void SetUp() override;

    void attach(Program program, const std::string& device);
    void attach_containers();
    // The host forwards all it gets, as a host with other software on it may.
    void forward_everything() const;
    // IPv6 has no forwarding of single devices for the stack before Linux 6.17.
    void let_the_stack_answer() const;

    const Net& net = *GetParam();
    NetworkNamespace web;
    NetworkNamespace db;
    NetworkNamespace outside;

private:
    void move_container(const std::string& name, const std::string& address, const NetworkNamespace& netns) const;
};

}  // namespace netkitd::test
