// What the tests of published ports share: a daemon that runs, a container that is not attached yet, and how they look
// at who reaches whom.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/format.h"
#include "harness/daemon_test.h"
#include "harness/traffic.h"

namespace netkitd::test {

struct PublishFamily {
    std::string name;
    std::string host;
    std::string client;
    std::string container;
    std::string loopback;
    std::string nowhere;
    std::string second;  // another one for the host

    [[nodiscard]] std::string in_brackets(const std::string& address) const {
        return name == "V4" ? address : formatted("[{}]", address);
    }
};
inline const PublishFamily kV4{.name = "V4",
                               .host = "198.51.100.1",
                               .client = "198.51.100.2",
                               .container = "10.77.0.2",
                               .loopback = "127.0.0.1",
                               .nowhere = "0.0.0.0",
                               .second = "198.51.100.7"};
inline const PublishFamily kV6{.name = "V6",
                               .host = "2001:db8:5::1",
                               .client = "2001:db8:5::2",
                               .container = "fd6e:6b64::2",
                               .loopback = "::1",
                               .nowhere = "::",
                               .second = "2001:db8:5::7"};

// What connect(2) says there; 0 if it does it.
[[nodiscard]] int connect_error(const NetworkNamespace& from, const Address& to);
[[nodiscard]] bool connects(const NetworkNamespace& from, const Address& to);
// What bind(2) says; 0 if it does it.
[[nodiscard]] int bind_to(int socket, const Address& local);
[[nodiscard]] int bind_error(const NetworkNamespace& netns, const Address& local, int type);
// "198.51.100.1 7", as getsockname(2) or getpeername(2) has it, or who sent the next datagram; else the error.
[[nodiscard]] std::string text_of(const Address& address);
[[nodiscard]] std::string own_of(int socket);
[[nodiscard]] std::string peer_of(int socket);
[[nodiscard]] std::string sender_of_next(int socket);
// The same, to answer it; std::nullopt: nothing came.
[[nodiscard]] std::optional<Address> next_sender(int socket);

// The echo service's port is both the host's and the container's.
class PublishTestBase : public DaemonTest {
protected:
    explicit PublishTestBase(PublishFamily family) : net(std::move(family)) {}

    void SetUp() override;
    Result<nlohmann::json> publish(const ContainerProcess& container, const std::string& id,
                                   const std::string& ports) const;
    [[nodiscard]] std::string refusal(const std::string& ports) const;
    // The container's, of the test's family.
    [[nodiscard]] std::string address_in(const Result<nlohmann::json>& attached) const {
        return attached->at(net.name == "V4" ? "ipv4" : "ipv6");
    }
    // The pins of their links.
    [[nodiscard]] std::set<std::string> socket_programs() const;
    [[nodiscard]] bool flush_flows() const {
        return call({.operation = ipc::Operation::flow_flush, .all = true}).has_value();
    }
    // As net.ipv4.ip_local_reserved_ports has them.
    [[nodiscard]] std::string reserved_ports() const {
        return node().run("sysctl -n net.ipv4.ip_local_reserved_ports");
    }
    void configure(const std::string& text) const;
    // As by the container's mirror, which is asked by the host's address.
    [[nodiscard]] std::string seen_from_outside() const;

    const PublishFamily net;
    const ContainerProcess web_;
};

class PublishTest : public PublishTestBase, public testing::WithParamInterface<PublishFamily> {
protected:
    PublishTest() : PublishTestBase(GetParam()) {}
};
class PublishTest4 : public PublishTestBase {
protected:
    PublishTest4() : PublishTestBase(kV4) {}
};

}  // namespace netkitd::test
