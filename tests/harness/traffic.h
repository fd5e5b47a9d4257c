// Traffic whose every packet is counted: what a change of the host's network, or of the daemon, cost it.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

#include "base/unique_fd.h"
#include "harness/netns.h"
#include "harness/packet.h"

namespace netkitd::test {

struct Address {
    sockaddr_storage storage{};
    socklen_t size = 0;

    [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// The echo service (RFC 862) at an address.
[[nodiscard]] Address echo_at(const std::string& text);
[[nodiscard]] Address with_port(const Address& address, int port);
// A socket of that netns, for any thread. Reads end after five seconds.
[[nodiscard]] UniqueFd socket_in(const NetworkNamespace& netns, const Address& address, int type, int protocol = 0);
// The same with that address and port.
[[nodiscard]] UniqueFd socket_bound_to(const NetworkNamespace& netns, const Address& local, int type, int protocol = 0);

// Sends back each datagram that the socket gets, until it is destroyed.
class DatagramEcho {
public:
    explicit DatagramEcho(UniqueFd socket);
    ~DatagramEcho();
    DatagramEcho(const DatagramEcho&) = delete;
    DatagramEcho& operator=(const DatagramEcho&) = delete;

private:
    UniqueFd socket_;
    std::jthread thread_;
};

// The same by TCP and UDP, on the echo service's port of `address` in `netns`.
class EchoServer {
public:
    EchoServer(const NetworkNamespace& netns, const std::string& address);
    ~EchoServer();
    EchoServer(const EchoServer&) = delete;
    EchoServer& operator=(const EchoServer&) = delete;

private:
    void accept(const std::stop_token& stop);

    UniqueFd stream_;
    DatagramEcho datagrams_;
    std::jthread acceptor_;
};

// Whether what is sent there comes back, by a connection or a datagram (SOCK_STREAM, SOCK_DGRAM).
[[nodiscard]] bool is_echoed(const NetworkNamespace& from, const std::string& address, int type = SOCK_STREAM);

// From that netns, as it is, whatever it says of its source; its Ethernet header is made anew.
void send_raw(const NetworkNamespace& netns, const Packet& packet);

// A datagram to every port of the address, over and over: each is a flow of its own.
void flood_ports(const std::stop_token& stop, const UniqueFd& socket, const Address& to);

// Answers each datagram, on the echo service's port, with the address that it came from, as text.
class Mirror {
public:
    Mirror(const NetworkNamespace& netns, const std::string& address);

private:
    UniqueFd socket_;
    std::jthread thread_;
};
// Asks a mirror; empty if it does not answer within `patience`.
[[nodiscard]] std::string seen_as(int socket, const Address& mirror,
                                  std::chrono::milliseconds patience = std::chrono::seconds(2));

// Of a TCP connection: sent again, less those of which the other end said that it had them already (RFC 2883). Those
// were late: a slow machine lets the timer run out.
[[nodiscard]] std::uint32_t lost_segments(int socket);

struct Tally {
    std::atomic<std::uint64_t> sent = 0;
    std::atomic<std::uint64_t> came_back = 0;
    std::atomic<std::uint64_t> failed = 0;  // connections that were refused, reset or timed out; datagrams' errors
    std::atomic<std::uint64_t> lost_segments = 0;
};

// Each until it is told to stop:
// one long connection; every byte comes back in its place.
void transfer(const std::stop_token& stop, const NetworkNamespace& from, const Address& to, Tally& tally);
// Numbered datagrams, one a millisecond.
void stream(const std::stop_token& stop, const NetworkNamespace& from, const Address& to, Tally& tally);
// A connection, a question, its answer, the end: 200 a second.
void connect_anew(const std::stop_token& stop, const NetworkNamespace& from, const Address& to, Tally& tally);

}  // namespace netkitd::test
