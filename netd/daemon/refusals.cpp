#include "daemon/refusals.h"

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <map>
#include <ranges>

#include "abi.h"
#include "base/format.h"
#include "base/log.h"
#include "daemon/node.h"
#include "link/device.h"

namespace netkitd {
namespace {

using namespace std::chrono_literals;

// A refusal that is older does not go on.
constexpr std::chrono::seconds kGoesOn{60};

bool is_for_want_of_something(std::uint32_t reason) {
    constexpr std::array kReasons{NK_DROP_NO_UPLINK,  NK_DROP_PORTS_EXHAUSTED, NK_DROP_FLOW_TABLE_FULL,
                                  NK_DROP_FLOW_SHARE, NK_DROP_NEIGHBOUR_SHARE, NK_DROP_SCTP_PORT,
                                  NK_DROP_PORT_TAKEN, NK_DROP_POLICY_RULE};
    return std::ranges::contains(kReasons, reason);
}

std::vector<datapath::EndpointDrop> going_on(const Node& node, std::uint32_t ifindex) {
    auto drops = node.datapath().endpoint_drops(ifindex).value_or(std::vector<datapath::EndpointDrop>());
    std::erase_if(drops, [](const datapath::EndpointDrop& drop) {
        return !is_for_want_of_something(drop.reason) || drop.age > kGoesOn;
    });
    return drops;
}

std::int64_t whole_seconds(std::chrono::nanoseconds age) {
    return std::chrono::floor<std::chrono::seconds>(age).count();
}

std::string describe_drop(const EndpointRecord& record, const datapath::EndpointDrop& drop) {
    const std::string device = link::device_name(drop.device_ifindex);
    return formatted("container {} ({}): {} of its {}, the last {} s ago ({}): {}{}", first_container(record),
                     record.host_name, drop.packets,
                     drop.reason == NK_DROP_PORT_TAKEN ? "flows ended" : "packets dropped", whole_seconds(drop.age),
                     drop.name, drop.text, device.empty() ? "" : formatted(" ({})", device));
}

}  // namespace

std::vector<std::string> describe_refusals(const Node& node) {
    std::vector<std::string> result;
    for (const datapath::EndpointDrop& drop : going_on(node, NK_DROPS_OF_HOST)) {
        result.push_back(formatted(
            "the host, with other runtimes' containers, has more flows from masquerade ports than its share "
            "of the flow table: {} packets were not noted, the last {} s ago, and a container may get their answers",
            drop.packets, whole_seconds(drop.age)));
    }
    // Whoever has most of them first.
    std::multimap<std::uint64_t, std::string, std::greater<>> of_containers;
    for (const auto& [id, endpoint] : node.endpoints().endpoints()) {
        for (const datapath::EndpointDrop& drop : going_on(node, endpoint.record.host_ifindex)) {
            of_containers.emplace(drop.packets, describe_drop(endpoint.record, drop));
        }
    }
    std::ranges::copy(of_containers | std::views::values, std::back_inserter(result));
    return result;
}

void RefusalLog::log_what_goes_on(const Node& node, std::chrono::steady_clock::time_point now) {
    constexpr std::size_t kMost = 10;
    constexpr std::chrono::seconds kFromOneLookToTheNext{5};
    if (now < next_look_) {
        return;
    }
    const std::vector<std::string> refusals = describe_refusals(node);
    for (const std::string& refusal : refusals | std::views::take(kMost)) {
        log(LogLevel::warning, "{}", refusal);
    }
    if (refusals.size() > kMost) {
        log(LogLevel::warning, "and {} more; `netkitctl status` names all", refusals.size() - kMost);
    }
    next_look_ = now + (refusals.empty() ? kFromOneLookToTheNext : kGoesOn);
}

}  // namespace netkitd
