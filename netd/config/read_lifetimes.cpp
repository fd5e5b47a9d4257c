#include "config/read_lifetimes.h"

#include <chrono>
#include <cstdint>
#include <string_view>

namespace netkitd {
namespace {

// Idle times are noticed a few seconds late (abi.h, nk_flow.last_seen_ns): nothing shorter is meant seriously.
constexpr std::uint32_t kShortestLife = 10;
constexpr std::uint32_t kLongestLife = 7 * 24 * 3600;

}  // namespace

Result<FlowLifetimes> read_lifetimes(const ConfigObject& masquerade) {
    FlowLifetimes result;
    const ConfigJson* const value = masquerade.find("lifetimes");
    if (value == nullptr) {
        return result;
    }
    const ConfigObject object =
        NK_TRY(ConfigObject::of(*value, masquerade.path_of("lifetimes"),
                                {"new_seconds", "tcp_established_seconds", "tcp_half_closed_seconds",
                                 "tcp_closed_seconds", "udp_seconds", "icmp_seconds", "sctp_seconds"}));
    const auto read = [&](std::string_view key, std::chrono::seconds& life) -> Result<void> {
        if (const auto seconds = NK_TRY(object.number(key, kShortestLife, kLongestLife))) {
            life = std::chrono::seconds(*seconds);
        }
        return {};
    };
    NK_TRY(read("new_seconds", result.fresh));
    NK_TRY(read("tcp_established_seconds", result.tcp_established));
    NK_TRY(read("tcp_half_closed_seconds", result.tcp_half_closed));
    NK_TRY(read("tcp_closed_seconds", result.tcp_closed));
    NK_TRY(read("udp_seconds", result.udp));
    NK_TRY(read("icmp_seconds", result.icmp));
    NK_TRY(read("sctp_seconds", result.sctp));
    return result;
}

}  // namespace netkitd
