#include "bpf/nat_table.h"

#include <arpa/inet.h>

#include <array>
#include <bit>
#include <map>
#include <optional>

#include "base/format.h"
#include "bpf/packets.h"
#include "datapath/address.h"

namespace netkitd::test {
namespace {

std::optional<Flow> flow_of(const Conversation& c, const NatModel& model) {
    const NatModel::State* known = model.find(c);
    if (known == nullptr || known->stale) {
        return std::nullopt;
    }
    return Flow{.protocol = c.protocol,
                .source = c.container,
                .source_port = c.port,
                .destination = c.remote,
                .destination_port = c.remote_port,
                .translated = c.is_ipv6() ? ipv6().node : ipv4().node,
                .translated_port = known->port};
}

Conversation conversation_of(const nk_flow6_key& key, const nk_flow& value) {
    const IpFamily family = key.saddr.word[1] != 0 ? IpFamily::v6 : IpFamily::v4;
    const bool forward = key.direction == NK_FLOW_FORWARD;
    const bool hosts = value.endpoint_id == NK_HOST_ID || value.endpoint_id >= NK_HOST_ASKED_ID;
    return {.protocol = key.proto,
            .container = datapath::to_ip_addr(hosts     ? key.daddr
                                              : forward ? key.saddr
                                                        : value.addr,
                                              family)
                             .to_string(),
            .port = ntohs(hosts     ? key.dport
                          : forward ? key.sport
                                    : value.port),
            .remote = datapath::to_ip_addr(forward ? key.daddr : key.saddr, family).to_string(),
            .remote_port = ntohs(forward ? key.dport : key.sport)};
}

// Of the host's, what it sent; of datagrams, whether they went on depends on the time between them.
std::string check_hosts(const nk_flow6_key& key, const nk_flow& value, const NatModel::State& state) {
    const bool has_connections = key.proto == IPPROTO_TCP || key.proto == IPPROTO_SCTP;
    const std::uint32_t seen = value.flags & ~std::uint32_t{NK_FLOW_SYN};
    const auto flag_if = [](bool is_set, nk_flow_flag flag) { return is_set ? std::uint32_t{flag} : 0U; };
    const std::uint32_t expected = flag_if(state.container_ended, NK_FLOW_FIN) | flag_if(state.reset, NK_FLOW_RST) |
                                   flag_if(state.answered, NK_FLOW_ANSWERED);
    if (ntohs(key.dport) == state.port && (!has_connections || seen == expected)) {
        return "";
    }
    return formatted("the table's entry has port {}, flags {}; it should be {}, {}", ntohs(key.dport), seen, state.port,
                     expected);
}

std::string check_half(const nk_flow6_key& key, const nk_flow& value, const NatModel::State& state, std::uint32_t id) {
    const bool forward = key.direction == NK_FLOW_FORWARD;
    const std::uint16_t port = ntohs(forward ? value.port : key.dport);
    const bool ended = (value.flags & NK_FLOW_FIN) != 0;
    const bool is_reset = state.reset || (!forward && state.remote_reset);
    const bool ends_agree = ended == (forward ? state.container_ended : state.remote_ended) &&
                            ((value.flags & NK_FLOW_RST) != 0) == is_reset &&
                            ((value.flags & NK_FLOW_ANSWERED) != 0) == state.answered;
    const bool beginnings_agree = ((value.flags & NK_FLOW_INBOUND) != 0) == state.is_inbound &&
                                  ((value.flags & NK_FLOW_ARRIVING) != 0) == (state.is_arriving && !forward);
    if (port == state.port && value.endpoint_id == id && ends_agree && beginnings_agree) {
        return "";
    }
    return formatted("the table's {} half has port {}, endpoint {}, flags {}; it should be {}, {}, {}{}{}{}{}{}",
                     forward ? "forward" : "reverse", port, value.endpoint_id, value.flags, state.port, id,
                     state.container_ended ? "ended by the container " : "",
                     state.remote_ended ? "ended by the remote " : "", is_reset ? "reset " : "",
                     state.answered ? "answered " : "", state.is_inbound ? "begun outside " : "",
                     state.is_arriving ? "not taken up" : "");
}

// How many conversations of each container are counted.
std::string check_counts(const TestNode& node, const NatModel& model, const EndpointId& endpoint_id) {
    for (const auto& [container, expected] : model.counts()) {
        const Conversation any{.container = container, .remote = container};  // of its family
        if (model.is_hosts(any)) {
            continue;
        }
        const nk_flow_counts counts = node.flow_counts(endpoint_id(any));
        const std::size_t counted = any.is_ipv6() ? counts.flows6 : counts.flows4;
        if (counted != expected) {
            return formatted("of {}, {} flows are counted, and should be {}", container, counted, expected);
        }
    }
    return "";
}

}  // namespace

Bytes entries_of(const TestNode& node, const Conversation& c, const NatModel& model) {
    Bytes bytes;
    const auto flow = flow_of(c, model);
    if (!flow) {
        return bytes;
    }
    for (const auto direction : {NK_FLOW_FORWARD, NK_FLOW_REVERSE}) {
        const nk_flow half = node.find(direction, *flow).value_or(nk_flow{});
        const auto raw = std::bit_cast<std::array<std::uint8_t, sizeof(half)>>(half);
        bytes.insert(bytes.end(), raw.begin(), raw.end());
    }
    return bytes;
}

bool erase_entries_of(const TestNode& node, const Conversation& c, const NatModel& model) {
    const auto flow = flow_of(c, model);
    if (!flow) {
        return false;
    }
    return node.forget(*flow).value_or(false);
}

std::string check_table(const TestNode& node, const NatModel& model, const EndpointId& endpoint_id) {
    std::map<Conversation, int> halves;
    for (const auto& [key, value] : node.entries()) {
        Conversation c = conversation_of(key, value);
        if (key.direction == NK_FLOW_REVERSE) {
            c = model.target(c, ntohs(key.dport)).value_or(c);  // of one that is left over, its name
        }
        const NatModel::State* state = model.find(c);
        if (state == nullptr) {
            return to_string(c) + ": it is in the table, though it should not be";
        }
        halves[c]++;
        if (state->stale) {
            continue;
        }
        const std::string wrong =
            model.is_hosts(c) ? check_hosts(key, value, *state) : check_half(key, value, *state, endpoint_id(c));
        if (!wrong.empty()) {
            return to_string(c) + ": " + wrong;
        }
    }
    for (const auto& [c, state] : model.conversations()) {
        if (halves[c] != model.entries_of(c)) {
            return formatted("{}: it has {} halves in the table", to_string(c), halves[c]);
        }
    }
    return check_counts(node, model, endpoint_id);
}

}  // namespace netkitd::test
