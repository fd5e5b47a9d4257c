#include "node/loopback_answers.h"

#include "link/sysctl.h"
#include "node/host_changes.h"

namespace netkitd {

namespace {

Result<void> change(Store& store, bool wanted) {
    // net/ipv4/route.c, ip_route_input_slow() and net/ipv4/fib_frontend.c, fib_validate_source().
    for (const char* const sysctl : {"ipv4/conf/lo/accept_local", "ipv4/conf/lo/route_localnet"}) {
        if (!wanted) {
            NK_TRY(restore_recorded_sysctl(store, sysctl));
        } else if (const auto before = NK_TRY(link::read_sysctl(sysctl)); before != "1") {
            NK_TRY(change_sysctl(store, sysctl, before, "1"));
        }
    }
    return {};
}

}  // namespace

Result<void> take_answers_of_loopback(Store& store, bool wanted) {
    return with_context(change(store, wanted),
                        wanted ? "programs of this host get no answers by IPv4 from published ports that are not TCP's "
                                 "(make /proc/sys/net/ipv4/conf/lo writable to netkitd)"
                               : "restore the loopback device's settings");
}

}  // namespace netkitd
