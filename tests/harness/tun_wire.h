// A wire without Ethernet between two namespaces: a tun device at each end, and a thread that carries packets from one
// to the other. (No tunnel of the kernel's is in every kernel.)
#pragma once

#include <net/if_arp.h>

#include <string>
#include <thread>

#include "base/unique_fd.h"
#include "harness/netns.h"

namespace netkitd::test {

// One end, up, for as long as this lives. Throws where the kernel has no tun.
class Tun {
public:
    Tun(const NetworkNamespace& netns, const std::string& name, int hardware_type = ARPHRD_NONE);
    [[nodiscard]] int fd() const { return fd_.get(); }

private:
    UniqueFd fd_;
};

class TunWire {
public:
    TunWire(const NetworkNamespace& a, const std::string& name_a, const NetworkNamespace& b, const std::string& name_b);

private:
    Tun a_;
    Tun b_;
    std::jthread carrier_;
};

}  // namespace netkitd::test
