#include "node/loopback_answers.h"

#include "link/sysctl.h"
#include "node/host_changes.h"

namespace netkitd {

Result<void> take_answers_of_loopback(Store& store) {
    // net/ipv4/route.c, ip_route_input_slow() and net/ipv4/fib_frontend.c, fib_validate_source().
    for (const char* const sysctl : {"ipv4/conf/lo/accept_local", "ipv4/conf/lo/route_localnet"}) {
        if (const auto before = NK_TRY(link::read_sysctl(sysctl)); before != "1") {
            NK_TRY(change_sysctl(store, sysctl, before, "1"));
        }
    }
    return {};
}

}  // namespace netkitd
