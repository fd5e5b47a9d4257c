#include "netkitctl/print.h"

#include <algorithm>

#include "base/format.h"
#include "base/ip_addr.h"
#include "base/join.h"
#include "netkitctl/reply.h"
#include "netkitctl/table.h"

namespace netkitd::ctl {
namespace {

using nlohmann::json;

// As podman ps shows ids; `endpoint show` takes them like this.
constexpr std::size_t kShortId = 12;

std::string short_id(const std::string& id) {
    constexpr std::size_t kFullId = 64;  // SHA-256 in hex: an id that no person chose
    const bool hexadecimal =
        std::ranges::all_of(id, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
    return id.size() == kFullId && hexadecimal ? id.substr(0, kShortId) : id;
}

std::string containers(const json& endpoint) {
    const auto to_text = [](const json& id) { return id.is_string() ? short_id(id.get<std::string>()) : id.dump(); };
    const std::string result = join(array_at(endpoint, "containers"), to_text);
    return result.empty() ? "-" : result;
}

std::string socket_address(const json& flow, std::string_view address, std::string_view port) {
    const std::string text = text_at(flow, address);
    return formatted("{}:{}", text.contains(':') ? "[" + text + "]" : text, text_at(flow, port));
}

// What there is of either family: "10.77.0.2 and fd6e:6b64::2".
std::string both(const json& object, std::string_view key4, std::string_view key6) {
    const std::string second = text_at(object, key6);
    return second == "-" ? text_at(object, key4) : formatted("{} and {}", text_at(object, key4), second);
}

std::string duration(std::uint64_t milliseconds) {
    constexpr std::uint64_t kSecond = 1000;
    constexpr std::uint64_t kMinute = 60 * kSecond;
    constexpr std::uint64_t kHour = 60 * kMinute;
    if (milliseconds < kMinute) {
        return formatted("{:.1f} s", static_cast<double>(milliseconds) / static_cast<double>(kSecond));
    }
    return milliseconds < kHour ? formatted("{} min", milliseconds / kMinute)
                                : formatted("{} h {} min", milliseconds / kHour, milliseconds % kHour / kMinute);
}

// A line each.
std::string print_held_ports(const json& list) {
    std::string text;
    for (const json& held : array_at(list, "held")) {
        const std::string address = text_at(held, "address");
        text += formatted("Port {}/{}{} is held for the next container for {} s more.\n", text_at(held, "port"),
                          text_at(held, "proto"), address == "-" ? "" : formatted(" of {}", address),
                          text_at(held, "seconds_left"));
    }
    return text;
}

std::string print_publish_address(const json& list) {
    const std::string addresses = join(array_at(list, "publish_address"), [](const json& prefix) {
        return prefix.is_string() ? prefix.get<std::string>() : "-";
    });
    return addresses.empty() ? ""
                             : formatted("\"any\" is what the host has of services.publish_address: {}\n", addresses);
}

// Who began it: the container, or at a published port of it another one, or somebody outside.
const char* begun(const json& flow) {
    if (is_true(flow, "inside")) {
        return "inside";
    }
    return is_true(flow, "inbound") ? "outside" : "here";
}

}  // namespace

std::string print_endpoints(const json& list) {
    Table table{">ID",  "CONTAINER", "NETWORK",  "IPV4",  "IPV6",  "INTERFACE",
                ">MTU", "MODE",      "HOST END", "STATE", ">FLOWS"};
    for (const json& endpoint : array_at(list, "endpoints")) {
        table.add({text_at(endpoint, "id"), containers(endpoint), text_at(endpoint, "network"),
                   text_at(endpoint, "ipv4"), text_at(endpoint, "ipv6"), text_at(endpoint, "interface"),
                   text_at(endpoint, "mtu"), text_at(endpoint, "device_mode"), text_at(endpoint, "host_interface"),
                   text_at(endpoint, "state"),
                   formatted("{}", number_at(endpoint, "flows4") + number_at(endpoint, "flows6"))});
    }
    const std::string more = is_true(list, "truncated") ? "There are more; the list is cut.\n" : "";
    return table.empty() ? "No container is attached.\n" : table.to_string() + more;
}

std::string print_endpoint(const json& endpoint) {
    Table table;
    table.add({"Endpoint", text_at(endpoint, "id")});
    for (const json& member : array_at(endpoint, "members")) {
        table.add({"Container", formatted("{}, pid {}", text_at(member, "container"), text_at(member, "pid"))});
    }
    table.add({"State", text_at(endpoint, "state")});
    table.add({"Network", text_at(endpoint, "network")});
    table.add({"IPv4", text_at(endpoint, "ipv4")});
    table.add({"IPv6", text_at(endpoint, "ipv6")});
    for (const json& port : array_at(endpoint, "published")) {
        table.add({"Published", port.is_string() ? port.get<std::string>() : "-"});
    }
    table.add({"Interface", formatted("{}, MTU {}, {}", text_at(endpoint, "interface"), text_at(endpoint, "mtu"),
                                      text_at(endpoint, "peer_mac"))});
    table.add({"Host end", formatted("{}, index {}, {}", text_at(endpoint, "host_interface"),
                                     text_at(endpoint, "host_ifindex"), text_at(endpoint, "host_mac"))});
    table.add({"Device mode", text_at(endpoint, "device_mode")});
    table.add({"Netns cookie", text_at(endpoint, "netns_cookie")});
    table.add({"Created", text_at(endpoint, "created")});
    table.add({"Flows", formatted("{} of IPv4, {} of IPv6; {} and {} are its own whatever others do",
                                  number_at(endpoint, "flows4"), number_at(endpoint, "flows6"),
                                  number_at(endpoint, "flow_share4"), number_at(endpoint, "flow_share6"))});
    Table drops{"NAME", ">PACKETS", ">LAST", "MEANING"};
    for (const json& drop : array_at(endpoint, "drops")) {
        const std::string device = text_at(drop, "device");
        drops.add({text_at(drop, "name"), text_at(drop, "packets"), duration(number_at(drop, "last_ms_ago")) + " ago",
                   text_at(drop, "text") + (device == "-" ? "" : formatted(" ({})", device))});
    }
    return table.to_string() + (drops.empty() ? "" : "\nDropped of what it sent\n" + drops.to_string("  "));
}

std::string print_attached(const std::string& id, const json& reply) {
    std::string result =
        formatted("{} {}: {} on {} ({}, MTU {}), gateway {}, host end {}, network {}\n", id,
                  is_true(reply, "existing") ? "was attached already" : "attached", both(reply, "ipv4", "ipv6"),
                  text_at(reply, "interface"), text_at(reply, "device_mode"), text_at(reply, "mtu"),
                  both(reply, "gateway4", "gateway6"), text_at(reply, "host_interface"), text_at(reply, "network"));
    for (const json& note : array_at(reply, "notes")) {
        result += formatted("note: {}\n", note.is_string() ? note.get<std::string>() : note.dump());
    }
    return result;
}

std::string print_detached(const std::string& id, const json& reply) {
    return formatted("{} {}\n", id, is_true(reply, "known") ? "detached" : "was not attached");
}

std::string print_ports(const json& list) {
    Table table{"ADDRESS", ">PORT", "PROTO", ">TO PORT", "CONTAINER", ">CONNECTIONS", ">HOLD", "ALLOWED"};
    for (const json& port : array_at(list, "ports")) {
        std::string allowed;
        for (const json& prefix : array_at(port, "allowed")) {
            allowed +=
                formatted("{}{}", allowed.empty() ? "" : " ", prefix.is_string() ? prefix.get<std::string>() : "-");
        }
        const std::string address = text_at(port, "address");
        const std::string hold = text_at(port, "hold_seconds");
        table.add({address == "-" ? "any" : address, text_at(port, "port"), text_at(port, "proto"),
                   text_at(port, "container_port"), short_id(text_at(port, "container")), text_at(port, "connections"),
                   hold == "0" ? "-" : hold + " s", allowed.empty() ? "everybody" : allowed});
    }
    if (table.empty()) {
        return "No port is published.\n" + print_held_ports(list);
    }
    const std::string unreached = text_at(list, "unreachable_from_host");
    return table.to_string() + print_publish_address(list) + print_held_ports(list) +
           "The host's firewall does not see what comes to these ports.\n" +
           (unreached == "-" ? "" : formatted("This host itself does not reach all of them: {}\n", unreached));
}

std::string print_flows(const json& list) {
    Table table{"PROTO", "BEGUN", "SOURCE", "DESTINATION", "TRANSLATED TO", "STATE", ">AGE", ">IDLE", "CONTAINER"};
    for (const json& flow : array_at(list, "flows")) {
        table.add({text_at(flow, "proto"), begun(flow), socket_address(flow, "source", "source_port"),
                   socket_address(flow, "destination", "destination_port"),
                   socket_address(flow, "translated", "translated_port"), text_at(flow, "state"),
                   duration(number_at(flow, "age_ms")), duration(number_at(flow, "idle_ms")),
                   number_at(flow, "endpoint") == 0 ? "(host)" : short_id(text_at(flow, "container"))});
    }
    const std::string more =
        is_true(list, "truncated") ? "There are more: --endpoint, --proto and --dst choose among them.\n" : "";
    return table.empty() ? "No masqueraded flow.\n" : table.to_string() + more;
}

std::string print_flushed(const json& reply) {
    const std::uint64_t flushed = number_at(reply, "flushed");
    return formatted("{} flow{} flushed\n", flushed, flushed == 1 ? "" : "s");
}

}  // namespace netkitd::ctl
