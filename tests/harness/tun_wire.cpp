#include "harness/tun_wire.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <vector>

#include "base/format.h"

namespace netkitd::test {
namespace {

// What does not fit into the other end's queue is lost, as on any wire.
void carry(int from, int to, std::vector<char>& packet) {
    for (ssize_t size = 0; (size = ::read(from, packet.data(), packet.size())) > 0;) {
        (void)!::write(to, packet.data(), static_cast<std::size_t>(size));
    }
}

void carry_both_ways(const std::stop_token& stop, int a, int b) {
    constexpr int kTimeoutMs = 50;
    std::vector<char> packet(65536);
    std::array<pollfd, 2> ends{pollfd{.fd = a, .events = POLLIN, .revents = 0},
                               pollfd{.fd = b, .events = POLLIN, .revents = 0}};
    while (!stop.stop_requested()) {
        ::poll(ends.data(), ends.size(), kTimeoutMs);
        carry(a, b, packet);
        carry(b, a, packet);
    }
}

}  // namespace

// With no header of the driver's own before the packet (Documentation/networking/tuntap.rst).
Tun::Tun(const NetworkNamespace& netns, const std::string& name, int hardware_type) {
    int error = 0;
    netns.inside([&] {
        fd_ = UniqueFd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
        ifreq request{};
        name.copy(request.ifr_name, IFNAMSIZ - 1);
        request.ifr_flags = IFF_TUN | IFF_NO_PI;
        const bool made =
            fd_ && ::ioctl(fd_.get(), TUNSETIFF, &request) == 0 && ::ioctl(fd_.get(), TUNSETLINK, hardware_type) == 0;
        error = made ? 0 : errno;
    });
    if (error != 0) {
        throw std::runtime_error(formatted("make {}: {}", name, std::generic_category().message(error)));
    }
    netns.run(formatted("ip link set {} up", name));
}

TunWire::TunWire(const NetworkNamespace& a, const std::string& name_a, const NetworkNamespace& b,
                 const std::string& name_b)
    : a_(a, name_a),
      b_(b, name_b),
      carrier_([a = a_.fd(), b = b_.fd()](const std::stop_token& stop) { carry_both_ways(stop, a, b); }) {}

}  // namespace netkitd::test
