// two-lines UPLINK [CONTAINER]: attaches the programs of two_lines.bpf.c to the devices of those names (CONTAINER is
// the netkit primary) and pins the links, so that they stay, in /sys/fs/bpf; without CONTAINER, the empty programs that
// only the host's own packets meet. The benchmark's reference for what BPF can cost least.
#include <bpf/libbpf.h>
#include <net/if.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <span>

#include "two_lines.skel.h"

namespace {

struct Destroy {
    void operator()(two_lines* skeleton) const { two_lines__destroy(skeleton); }
};

bool failed(const char* what) {
    std::fprintf(stderr, "two-lines: %s: %s\n", what, std::strerror(errno));
    return false;
}

bool pin(bpf_link* link, const char* path) {
    return (link != nullptr && bpf_link__pin(link, path) == 0) || failed(path);
}

using Skeleton = std::unique_ptr<two_lines, Destroy>;

bool attach_nothing(const char* uplink_name) {
    const unsigned uplink = if_nametoindex(uplink_name);
    const Skeleton skeleton(two_lines__open_and_load());
    if (uplink == 0 || !skeleton) {
        return failed("the device or the program");
    }
    const auto device = static_cast<int>(uplink);
    skeleton->links.nothing_in = bpf_program__attach_tcx(skeleton->progs.nothing_in, device, nullptr);
    skeleton->links.nothing_out = bpf_program__attach_tcx(skeleton->progs.nothing_out, device, nullptr);
    return pin(skeleton->links.nothing_in, "/sys/fs/bpf/nothing-in") &&
           pin(skeleton->links.nothing_out, "/sys/fs/bpf/nothing-out");
}

bool attach(const char* uplink_name, const char* container_name) {
    const unsigned uplink = if_nametoindex(uplink_name);
    const unsigned container = if_nametoindex(container_name);
    const Skeleton skeleton(two_lines__open());
    if (uplink == 0 || container == 0 || !skeleton) {
        return failed("the devices or the program");
    }
    skeleton->rodata->uplink = uplink;
    skeleton->rodata->container = container;
    if (two_lines__load(skeleton.get()) != 0) {
        return failed("load");
    }
    // The links live on by their pins.
    skeleton->links.from_container =
        bpf_program__attach_netkit(skeleton->progs.from_container, static_cast<int>(container), nullptr);
    skeleton->links.from_uplink =
        bpf_program__attach_tcx(skeleton->progs.from_uplink, static_cast<int>(uplink), nullptr);
    return pin(skeleton->links.from_container, "/sys/fs/bpf/two-lines-container") &&
           pin(skeleton->links.from_uplink, "/sys/fs/bpf/two-lines-uplink");
}

}  // namespace

int main(int count, char** arguments) {
    const std::span given(arguments, static_cast<std::size_t>(count));
    if (given.size() != 2 && given.size() != 3) {
        std::fputs("usage: two-lines UPLINK [CONTAINER]\n", stderr);
        return 2;
    }
    const bool done = given.size() == 2 ? attach_nothing(given[1]) : attach(given[1], given[2]);
    return done ? 0 : 1;
}
