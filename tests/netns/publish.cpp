#include "netns/publish.h"

#include <netdb.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace netkitd::test {
namespace {

std::string name_by(int (*call)(int, sockaddr*, socklen_t*), int socket) {
    Address name{.size = sizeof(sockaddr_storage)};
    const bool known = call(socket, reinterpret_cast<sockaddr*>(&name.storage), &name.size) == 0;
    return known ? text_of(name) : std::strerror(errno);
}

}  // namespace

std::string text_of(const Address& address) {
    std::array<char, INET6_ADDRSTRLEN> host{};
    std::array<char, 8> port{};
    const int error = ::getnameinfo(address.get(), address.size, host.data(), host.size(), port.data(), port.size(),
                                    NI_NUMERICHOST | NI_NUMERICSERV);
    return error == 0 ? formatted("{} {}", host.data(), port.data()) : ::gai_strerror(error);
}

int connect_error(const NetworkNamespace& from, const Address& to) {
    const UniqueFd socket = socket_in(from, to, SOCK_STREAM);
    return ::connect(socket.get(), to.get(), to.size) == 0 ? 0 : errno;
}

bool connects(const NetworkNamespace& from, const Address& to) {
    return connect_error(from, to) == 0;
}

int bind_to(int socket, const Address& local) {
    return ::bind(socket, local.get(), local.size) == 0 ? 0 : errno;
}

int bind_error(const NetworkNamespace& netns, const Address& local, int type) {
    const UniqueFd socket = socket_in(netns, local, type);
    return bind_to(socket.get(), local);
}

std::string own_of(int socket) {
    return name_by(::getsockname, socket);
}

std::string peer_of(int socket) {
    return name_by(::getpeername, socket);
}

std::optional<Address> next_sender(int socket) {
    std::array<char, 16> data{};
    Address sender{.size = sizeof(sockaddr_storage)};
    const bool came = ::recvfrom(socket, data.data(), data.size(), 0, reinterpret_cast<sockaddr*>(&sender.storage),
                                 &sender.size) >= 0;
    return came ? std::optional(sender) : std::nullopt;
}

std::string sender_of_next(int socket) {
    const std::optional<Address> sender = next_sender(socket);
    return sender ? text_of(*sender) : std::strerror(errno);
}

void PublishTestBase::SetUp() {
    DaemonTest::SetUp();
    if (IsSkipped()) {
        return;
    }
    node().run("ip addr add 2001:db8:5::1/64 dev up0 nodad");
    outside().run("ip addr add 2001:db8:5::2/64 dev eth0 nodad");
    ASSERT_TRUE(start());
}

Result<nlohmann::json> PublishTestBase::publish(const ContainerProcess& container, const std::string& id,
                                                const std::string& ports) const {
    return attach(container, id, {{"io.netkitd.publish", ports}});
}

std::string PublishTestBase::refusal(const std::string& ports) const {
    const ContainerProcess container;
    const auto reply = publish(container, "refused", ports);
    EXPECT_TRUE(detach("refused"));
    return reply ? "published" : reply.error().message();
}

std::set<std::string> PublishTestBase::socket_programs() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(pins() / "links")) {
        const std::string name = entry.path().filename();
        if (name.starts_with("socket-")) {
            names.insert(name);
        }
    }
    return names;
}

void PublishTestBase::configure(const std::string& text) const {
    std::ofstream(scratch("netkitd.json")) << text;
    signal(SIGHUP);
}

std::string PublishTestBase::seen_from_outside() const {
    const Address mirror = echo_at(net.host);
    const UniqueFd socket = socket_in(outside(), mirror, SOCK_DGRAM);
    return seen_as(socket.get(), mirror);
}

}  // namespace netkitd::test
