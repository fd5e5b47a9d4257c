
#include "base/format.h"
#include "netkitctl/print.h"
#include "netkitctl/reply.h"
#include "netkitctl/table.h"

namespace netkitd::ctl {
namespace {

using nlohmann::json;

constexpr std::string_view kIndent = "  ";
// Of the devices in one line.
constexpr std::size_t kMostNamed = 4;

std::string section(std::string_view title, const Table& table) {
    return table.empty() ? "" : formatted("\n{}\n{}", title, table.to_string(kIndent));
}

std::string masquerading(const json& status) {
    const json& masquerade = object_at(status, "masquerading");
    if (!is_true(masquerade, "enabled")) {
        return "off: the networks are routed";
    }
    const std::string but_not = text_at(masquerade, "non_masquerade_cidrs");
    const std::size_t devices = array_at(masquerade, "devices").size();
    return formatted("{}{} through {}, ports {}", text_at(masquerade, "networks"),
                     but_not == "-" ? "" : formatted(", but not to {},", but_not),
                     devices > kMostNamed ? formatted("{} uplinks", devices) : text_at(masquerade, "devices"),
                     text_at(masquerade, "ports"));
}

std::string big_tcp(const json& status) {
    const json& sizes = object_at(status, "big_tcp");
    if (!is_true(sizes, "enabled")) {
        return formatted("off: {}", text_at(sizes, "reason"));
    }
    std::string ipv4 =
        formatted("IPv4: GSO {}, GRO {}", text_at(sizes, "gso_ipv4_max_size"), text_at(sizes, "gro_ipv4_max_size"));
    if (text_at(sizes, "gso_max_size") == "-") {
        return ipv4;
    }
    return formatted("{}; IPv6: GSO {}, GRO {}", ipv4, text_at(sizes, "gso_max_size"), text_at(sizes, "gro_max_size"));
}

// What containers have whose network names no others.
std::string name_servers(const json& status) {
    const json& resolver = object_at(status, "name_servers");
    const std::string servers = text_at(resolver, "servers");
    return servers == "-" ? "none" : formatted("{} (from {})", servers, text_at(resolver, "file"));
}

// The programs' share of what sockets do: netd/README.md.
std::string published(const json& status) {
    const json& published = object_at(status, "published");
    const std::uint64_t ports = number_at(published, "ports");
    if (ports == 0) {
        return "no port";
    }
    const bool with_sockets = is_true(published, "socket_programs");
    const bool with_loopback = is_true(published, "loopback_program");
    const std::string programs = formatted("{}{}{}", with_sockets ? "the root of the cgroups" : "",
                                           with_sockets && with_loopback ? " and at " : "", with_loopback ? "lo" : "");
    return formatted("{} port{}{}", ports, ports == 1 ? "" : "s",
                     programs.empty() ? "" : formatted("; programs at {}", programs));
}

std::string overview(const json& status) {
    const json& mode = object_at(status, "device_mode");
    Table table;
    table.add({"netkitd", formatted("{}, running since {}", text_at(status, "version"), text_at(status, "started"))});
    table.add({"Kernel", text_at(status, "kernel")});
    table.add({"Device mode", formatted("{} (configured: {})", text_at(mode, "active"), text_at(mode, "configured"))});
    table.add({"Attach mode", text_at(status, "attach_mode")});
    table.add({"Host routing", text_at(status, "host_routing")});
    const json& host_device = object_at(status, "host_device");
    table.add({"Host device", formatted("{} (mtu {})", text_at(host_device, "name"), text_at(host_device, "mtu"))});
    table.add({"Masquerading", masquerading(status)});
    table.add({"Name servers", name_servers(status)});
    table.add({"Published", published(status)});
    table.add({"BIG TCP", big_tcp(status)});
    table.add({"Endpoints", text_at(status, "endpoints")});
    return table.to_string();
}

std::string degraded(const json& status) {
    std::string result;
    for (const json& item : array_at(status, "degraded")) {
        result += formatted("{}{}\n", kIndent, printable(item.is_string() ? item.get<std::string>() : item.dump()));
    }
    return result.empty() ? "" : "\nDegraded\n" + result;
}

std::string uplinks(const json& status) {
    Table table{"NAME", ">INDEX", ">MTU", "ADDRESSES", "STATE"};
    for (const json& uplink : array_at(status, "uplinks")) {
        const std::string reason = text_at(uplink, "reason");
        table.add({text_at(uplink, "name"), text_at(uplink, "ifindex"), text_at(uplink, "mtu"),
                   text_at(uplink, "addresses"),
                   text_at(uplink, "state") + (is_true(uplink, "way_out") ? ", way out" : "") +
                       (reason == "-" ? "" : ": " + reason)});
    }
    return section("Uplinks", table);
}

// Where its packets to the outside come from, as others see it.
std::string source_of(const json& network, std::string_view masquerade, std::string_view source) {
    const std::string address = text_at(network, source);
    const std::string packets =
        is_true(network, masquerade) ? (address == "-" ? "masqueraded" : "masqueraded as " + address) : "routed";
    return packets + (is_true(network, "accept_forwarded") ? ", accepts forwarded" : "");
}

std::string networks(const json& status) {
    Table table{"NAME", "PREFIX", "GATEWAY", ">IN USE", ">ADDRESSES", "OUTSIDE", "ISOLATED"};
    for (const json& network : array_at(status, "networks")) {
        table.add({text_at(network, "name"), text_at(network, "ipv4"), text_at(network, "gateway4"),
                   text_at(network, "in_use"), text_at(network, "capacity"),
                   source_of(network, "masquerade4", "source4"), is_true(network, "isolated") ? "yes" : "no"});
        if (text_at(network, "ipv6") != "-") {
            constexpr std::uint64_t kSaturated = 1ULL << 63U;  // AddressPool::capacity()
            table.add({"", text_at(network, "ipv6"), text_at(network, "gateway6"), text_at(network, "in_use6"),
                       number_at(network, "capacity6") >= kSaturated ? ">= 2^63" : text_at(network, "capacity6"),
                       source_of(network, "masquerade6", "source6")});
        }
    }
    return section("Networks", table);
}

std::string maps(const json& status) {
    Table table{"NAME", ">ENTRIES", ">CAPACITY", ">FULL", "HIGH SINCE"};
    for (const json& map : array_at(status, "maps")) {
        const std::uint64_t capacity = number_at(map, "capacity");
        constexpr double kPercent = 100.0;
        const std::string full = capacity == 0
                                     ? "-"
                                     : formatted("{:.1f} %", kPercent * static_cast<double>(number_at(map, "entries")) /
                                                                 static_cast<double>(capacity));
        table.add({text_at(map, "name"), text_at(map, "entries"), text_at(map, "capacity"), full,
                   text_at(map, "high_since")});
    }
    return section("Maps", table);
}

// Nothing to see while the first port does for everybody.
std::string port_tries(const json& status) {
    const json& tries = object_at(status, "port_tries");
    Table table{">TRIES", ">FLOWS"};
    std::uint64_t several = 0;
    for (const char* bucket : {"1", "2-4", "5-8", "9-16", "17-32", "exhausted"}) {
        table.add({bucket, text_at(tries, bucket)});
        several += std::string_view(bucket) == "1" ? 0 : number_at(tries, bucket);
    }
    return several == 0 ? "" : section("Ports tried for a new flow", table);
}

// Only what happened: a list of zeros hides the one line that matters.
std::string counters(const json& status, std::string_view kind, std::string_view title) {
    Table table{"NAME", ">PACKETS", ">BYTES", "MEANING"};
    for (const json& counter : array_at(status, "counters")) {
        if (text_at(counter, "kind") == kind && number_at(counter, "packets") > 0) {
            table.add({text_at(counter, "name"), text_at(counter, "packets"), text_at(counter, "bytes"),
                       text_at(counter, "text")});
        }
    }
    return table.empty() ? formatted("\n{}\n{}none\n", title, kIndent) : section(title, table);
}

std::string host_changes(const json& status) {
    Table table{"WHAT", "BEFORE", "AFTER"};
    for (const json& change : array_at(status, "host_changes")) {
        table.add({text_at(change, "what"), text_at(change, "before"), text_at(change, "after")});
    }
    return section("Changed on this host (netkitd --purge restores it)", table);
}

std::string last_errors(const json& status) {
    Table table{"WHEN", "WHAT", "ERROR"};
    for (const json& error : array_at(status, "last_errors")) {
        table.add({text_at(error, "when"), text_at(error, "what"), text_at(error, "message")});
    }
    return section("Last errors", table);
}

}  // namespace

std::string print_status(const json& status) {
    return overview(status) + degraded(status) + last_errors(status) + uplinks(status) + networks(status) +
           maps(status) + port_tries(status) + counters(status, "drop", "Drops") + counters(status, "event", "Events") +
           host_changes(status);
}

}  // namespace netkitd::ctl
