#include "netkitctl/print.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "netkitctl/table.h"

namespace netkitd::ctl {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

TEST(Table, ColumnsLineUpAndNumbersAreRightAligned) {
    Table table{"NAME", ">BYTES", "STATE"};
    table.add({"a", "1", "up"});
    table.add({"longer", "12345", "down"});
    EXPECT_EQ(table.to_string("  "),
              "  NAME    BYTES  STATE\n"
              "  a           1  up\n"
              "  longer  12345  down\n");
}

TEST(Table, CountsCharactersNotBytes) {
    Table table;
    table.add({"müller…", "x"});
    table.add({"1234567", "y"});
    EXPECT_EQ(table.to_string(), "müller…  x\n1234567  y\n");
}

TEST(Table, NothingInItActsOnTheTerminal) {
    Table table;
    table.add({"a\x1b[2Jb\nc", "ü"});
    EXPECT_EQ(table.to_string(), "a?[2Jb?c  ü\n");
}

constexpr const char* kId = "4f7a0c0de1b24f7a0c0de1b24f7a0c0de1b24f7a0c0de1b24f7a0c0de1b2abcd";

json sample_status() {
    return json::parse(R"({
        "version": "0.1.0", "kernel": "6.12.57", "started": "2025-06-01T10:00:00Z", "boot_id": "x",
        "device_mode": {"configured": "auto", "active": "veth", "reason": "no netkit here"},
        "attach_mode": "tcx", "host_routing": "bpf", "host_device": {"name": "netkitd0", "ifindex": 7, "mtu": 1500},
        "masquerading": {"enabled": true, "devices": ["eth0", "eth1"], "networks": ["10.77.0.0/16"], "ports": "49152-65535",
                         "non_masquerade_cidrs": []},
        "name_servers": {"servers": ["192.0.2.53", "2001:db8::53"], "file": "/etc/resolv.conf", "unreachable": []},
        "published": {"ports": 3, "socket_programs": true, "loopback_program": true}, "services": "not available", "big_tcp": {"enabled": false, "reason": "the uplink eth0 is small"}, "endpoints": 2,
        "uplinks": [{"name": "eth0", "ifindex": 2, "mtu": 1500, "addresses": ["192.0.2.1", "2001:db8::1"],
                     "way_out": true, "state": "attached", "reason": ""},
                    {"name": "tun0", "ifindex": 9, "mtu": 1420, "addresses": [], "state": "unusable",
                     "reason": "tun0 has packets of a kind"}],
        "networks": [{"name": "default", "ipv4": "10.77.0.0/16", "gateway4": "10.77.0.1", "in_use": 2, "capacity": 65533,
                      "ipv6": "fd6e:6b64::/64", "gateway6": "fd6e:6b64::1", "in_use6": 1, "capacity6": 9223372036854775808,
                      "isolated": false, "masquerade4": true, "source4": "192.0.2.7", "masquerade6": false, "source6": null},
                     {"name": "old", "ipv4": "10.78.0.0/16", "gateway4": "10.78.0.1", "in_use": 0, "capacity": 65533,
                      "ipv6": null, "gateway6": null, "in_use6": 0, "capacity6": 0,
                      "isolated": true, "masquerade4": true, "source4": null,
                      "accept_forwarded": true}],
        "maps": [{"name": "flows4", "entries": 32768, "capacity": 131072, "high_since": null},
                 {"name": "flows6", "entries": 30000, "capacity": 32768, "high_since": "2025-06-01T10:02:00Z"},
                 {"name": "odd", "entries": 1, "capacity": 0}],
        "port_tries": {"1": 900, "2-4": 80, "5-8": 7, "9-16": 0, "17-32": 0, "exhausted": 2},
        "counters": [{"name": "spoofed-source", "kind": "drop", "packets": 7, "bytes": 700, "text": "not its own"},
                     {"name": "no-flow", "kind": "drop", "packets": 0, "bytes": 0, "text": "belongs to no flow"},
                     {"name": "flow-created", "kind": "event", "packets": 3, "bytes": 180, "text": "flows begun"}],
        "host_changes": [{"what": "sysctl net/ipv4/ip_local_reserved_ports", "before": "", "after": "49152-65535"}],
        "degraded": ["fell back to veth"],
        "last_errors": [{"when": "2025-06-01T10:01:00Z", "what": "attach web", "message": "no address is left"}]
    })");
}

TEST(PrintStatus, ShowsWhatANodeDoesAndWhatIsWrongWithIt) {
    const std::string text = print_status(sample_status());
    EXPECT_THAT(text, HasSubstr("netkitd       0.1.0, running since 2025-06-01T10:00:00Z\n"
                                "Kernel        6.12.57\n"
                                "Device mode   veth (configured: auto)\n"
                                "Attach mode   tcx\n"
                                "Host routing  bpf\n"
                                "Host device   netkitd0 (mtu 1500)\n"
                                "Masquerading  10.77.0.0/16 through eth0, eth1, ports 49152-65535\n"
                                "Name servers  192.0.2.53, 2001:db8::53 (from /etc/resolv.conf)\n"
                                "Published     3 ports; programs at the root of the cgroups and at lo\n"
                                "BIG TCP       off: the uplink eth0 is small\n"
                                "Endpoints     2\n"));
    EXPECT_THAT(text, HasSubstr("\nDegraded\n  fell back to veth\n"));
    EXPECT_THAT(text, HasSubstr("  eth0      2  1500  192.0.2.1, 2001:db8::1  attached, way out\n"));
    EXPECT_THAT(text, HasSubstr("unusable: tun0 has packets of a kind\n"));
    EXPECT_THAT(
        text,
        HasSubstr(
            "  NAME     PREFIX          GATEWAY       IN USE  ADDRESSES  OUTSIDE                         ISOLATED\n"
            "  default  10.77.0.0/16    10.77.0.1          2      65533  masqueraded as 192.0.2.7        no\n"
            "           fd6e:6b64::/64  fd6e:6b64::1       1    >= 2^63  routed\n"
            "  old      10.78.0.0/16    10.78.0.1          0      65533  masqueraded, accepts forwarded  yes\n"));
    EXPECT_THAT(text, HasSubstr("  NAME    ENTRIES  CAPACITY    FULL  HIGH SINCE\n"
                                "  flows4    32768    131072  25.0 %  -\n"
                                "  flows6    30000     32768  91.6 %  2025-06-01T10:02:00Z\n"));
    EXPECT_THAT(text, HasSubstr("\nPorts tried for a new flow\n"
                                "      TRIES  FLOWS\n"
                                "          1    900\n"
                                "        2-4     80\n"));
    EXPECT_THAT(text, HasSubstr("  exhausted      2\n"));
    EXPECT_THAT(text, HasSubstr("  sysctl net/ipv4/ip_local_reserved_ports  -       49152-65535\n"));
    EXPECT_THAT(text, HasSubstr("2025-06-01T10:01:00Z  attach web  no address is left\n"));
}

TEST(PrintStatus, CountsUplinksThatAreTooManyForALine) {
    json status = sample_status();
    status["masquerading"]["devices"] = {"eth0", "eth1", "eth2", "eth3", "eth4"};
    EXPECT_THAT(print_status(status), HasSubstr("Masquerading  10.77.0.0/16 through 5 uplinks, ports 49152-65535\n"));
}

TEST(PrintStatus, NamesWhereNothingIsMasqueraded) {
    json status = sample_status();
    status["masquerading"]["non_masquerade_cidrs"] = {"10.0.0.0/8", "fd00::/8"};
    EXPECT_THAT(print_status(status),
                HasSubstr("Masquerading  10.77.0.0/16, but not to 10.0.0.0/8, fd00::/8, through eth0, eth1, ports "));
}

TEST(PrintStatus, ListsTheDropsThatHappenedAndSaysNoneOtherwise) {
    json status = sample_status();
    EXPECT_THAT(print_status(status), AllOf(HasSubstr("  spoofed-source        7    700  not its own\n"),
                                            HasSubstr("flow-created"), Not(HasSubstr("no-flow"))));
    status["counters"].clear();
    EXPECT_THAT(print_status(status), AllOf(HasSubstr("\nDrops\n  none\n"), HasSubstr("\nEvents\n  none\n")));
}

TEST(PrintStatus, LeavesOutWhatThereIsNothingToSayAbout) {
    json status = sample_status();
    status["degraded"].clear();
    status["last_errors"].clear();
    status["host_changes"].clear();
    status["masquerading"]["enabled"] = false;
    status["port_tries"] = {{"1", 900}, {"2-4", 0}, {"exhausted", 0}};
    EXPECT_THAT(print_status(status),
                AllOf(Not(HasSubstr("Ports tried")), Not(HasSubstr("Degraded")), Not(HasSubstr("Last errors")),
                      Not(HasSubstr("Changed")), HasSubstr("Masquerading  off")));
}

TEST(PrintStatus, ShowsTheSizesOfBigTcpByFamily) {
    json status = sample_status();
    status["big_tcp"] = {{"enabled", true},
                         {"reason", ""},
                         {"gso_max_size", 196608},
                         {"gro_max_size", 196607},
                         {"gso_ipv4_max_size", 131072},
                         {"gro_ipv4_max_size", 131071}};
    EXPECT_THAT(print_status(status),
                HasSubstr("BIG TCP       IPv4: GSO 131072, GRO 131071; IPv6: GSO 196608, GRO 196607\n"));
}

TEST(PrintStatus, ADaemonOfAnotherVersionMayLeaveKeysOutOrChangeTheirTypes) {
    for (const char* odd : {"{}", "[]", "null", "7", R"({"uplinks": {}, "counters": 3, "degraded": [1, null]})",
                            R"({"device_mode": "veth", "maps": [7], "masquerading": []})"}) {
        EXPECT_THAT(print_status(json::parse(odd)), HasSubstr("Kernel        -")) << odd;
    }
}

TEST(PrintEndpoints, AreATableWithShortIds) {
    const json list{{"endpoints",
                     {{{"id", 1},
                       {"containers", {kId, "by-hand"}},
                       {"network", "default"},
                       {"interface", "eth0"},
                       {"ipv4", "10.77.0.2"},
                       {"ipv6", "fd6e:6b64::2"},
                       {"mtu", 1500},
                       {"device_mode", "netkit"},
                       {"host_interface", "nk0000002a"},
                       {"state", "ready"},
                       {"flows4", 12},
                       {"flows6", 30}}}}};
    EXPECT_EQ(print_endpoints(list),
              "ID  CONTAINER              NETWORK  IPV4       IPV6          INTERFACE   MTU  MODE    HOST END    STATE "
              " FLOWS\n"
              " 1  4f7a0c0de1b2, by-hand  default  10.77.0.2  fd6e:6b64::2  eth0       1500  netkit  nk0000002a  ready "
              "    42\n");
    EXPECT_EQ(print_endpoints({{"endpoints", json::array()}}), "No container is attached.\n");
    json cut = list;
    cut["truncated"] = true;
    EXPECT_THAT(print_endpoints(cut), HasSubstr("There are more; the list is cut."));
}

TEST(PrintEndpoint, NamesEveryMemberInFull) {
    const std::string text = print_endpoint(
        {{"id", 3},
         {"members", {{{"container", kId}, {"pid", 4242}}, {{"container", "by-hand"}, {"pid", nullptr}}}},
         {"ipv4", "10.77.0.2"},
         {"ipv6", nullptr},
         {"flows4", 12},
         {"flows6", 30},
         {"flow_share4", 256},
         {"flow_share6", 64}});
    EXPECT_THAT(text, HasSubstr("Flows         12 of IPv4, 30 of IPv6; 256 and 64 are its own whatever others do\n"));
    EXPECT_THAT(text, AllOf(HasSubstr(std::string("Container     ") + kId + ", pid 4242\n"),
                            HasSubstr("Container     by-hand, pid -\n"), HasSubstr("IPv6          -\n")));
}

TEST(PrintFlows, SayWhoBeganThem) {
    const json list{{"flows",
                     {{{"proto", "tcp"}},
                      {{"proto", "udp"}, {"inbound", true}},
                      {{"proto", "sctp"}, {"inbound", true}, {"inside", true}}}}};
    EXPECT_THAT(print_flows(list),
                AllOf(ContainsRegex("tcp +here "), ContainsRegex("udp +outside "), ContainsRegex("sctp +inside ")));
}

TEST(PrintFlows, ShowTheTranslationAndTheAges) {
    const json list{{"flows",
                     {{{"proto", "tcp"},
                       {"source", "10.77.0.2"},
                       {"source_port", 50000},
                       {"destination", "2001:db8::1"},
                       {"destination_port", 443},
                       {"translated", "192.0.2.1"},
                       {"translated_port", 50000},
                       {"state", "established"},
                       {"inbound", true},
                       {"age_ms", 7'384'000},
                       {"idle_ms", 1'250},
                       {"endpoint", 3},
                       {"container", "web"}},
                      {{"proto", "udp"},
                       {"source", "192.0.2.1"},
                       {"source_port", 50001},
                       {"destination", "192.0.2.9"},
                       {"destination_port", 53},
                       {"translated", "192.0.2.1"},
                       {"translated_port", 50001},
                       {"state", "new"},
                       {"age_ms", 1'000},
                       {"idle_ms", 1'000},
                       {"endpoint", 0},
                       {"container", ""}}}},
                    {"truncated", true}};
    EXPECT_EQ(
        print_flows(list),
        "PROTO  BEGUN    SOURCE           DESTINATION        TRANSLATED TO    STATE              AGE   IDLE  "
        "CONTAINER\n"
        "tcp    outside  10.77.0.2:50000  [2001:db8::1]:443  192.0.2.1:50000  established  2 h 3 min  1.2 s  web\n"
        "udp    here     192.0.2.1:50001  192.0.2.9:53       192.0.2.1:50001  new              1.0 s  1.0 s  (host)\n"
        "There are more: --endpoint, --proto and --dst choose among them.\n");
    EXPECT_EQ(print_flows({{"flows", json::array()}}), "No masqueraded flow.\n");
}

TEST(PrintPorts, SaysWhereTheyLeadAndWhoMayCome) {
    json list{{"ports",
               {{{"address", nullptr},
                 {"port", 8080},
                 {"proto", "tcp"},
                 {"container_port", 80},
                 {"container", "web"},
                 {"endpoint", 1},
                 {"allowed", json::array()},
                 {"hold_seconds", 10},
                 {"connections", 12}},
                {{"address", "127.0.0.1"},
                 {"port", 53},
                 {"proto", "udp"},
                 {"container_port", 5353},
                 {"container", "names"},
                 {"endpoint", 2},
                 {"allowed", {"192.0.2.0/24", "2001:db8::/32"}},
                 {"hold_seconds", 0},
                 {"connections", 0}}}},
              {"unreachable_from_host", nullptr}};
    EXPECT_EQ(print_ports(list),
              "ADDRESS    PORT  PROTO  TO PORT  CONTAINER  CONNECTIONS  HOLD  ALLOWED\n"
              "any        8080  tcp         80  web                 12  10 s  everybody\n"
              "127.0.0.1    53  udp       5353  names                0     -  192.0.2.0/24 2001:db8::/32\n"
              "The host's firewall does not see what comes to these ports.\n");
    list["unreachable_from_host"] = "no cgroup2 file system is mounted";
    EXPECT_THAT(print_ports(list),
                HasSubstr("This host itself does not reach all of them: no cgroup2 file system is mounted\n"));
    const json held = {{{"address", nullptr}, {"port", 8080}, {"proto", "tcp"}, {"seconds_left", 12}},
                       {{"address", "192.0.2.1"}, {"port", 443}, {"proto", "tcp"}, {"seconds_left", 7}}};
    EXPECT_EQ(print_ports({{"ports", json::array()}, {"held", held}}),
              "No port is published.\n"
              "Port 8080/tcp is held for the next container for 12 s more.\n"
              "Port 443/tcp of 192.0.2.1 is held for the next container for 7 s more.\n");
    list["publish_address"] = {"192.0.2.1/32", "2001:db8::/64"};
    EXPECT_THAT(print_ports(list),
                HasSubstr("\"any\" is what the host has of services.publish_address: 192.0.2.1/32, 2001:db8::/64\n"));
}

TEST(PrintFlushed, SaysHowMany) {
    EXPECT_EQ(print_flushed({{"flushed", 1}}), "1 flow flushed\n");
    EXPECT_EQ(print_flushed({{"flushed", 0}}), "0 flows flushed\n");
}

TEST(PrintAttached, SaysWhatTheContainerGotAndWhatToKnow) {
    json reply{{"id", 1},
               {"ipv4", "10.77.0.2"},
               {"gateway4", "10.77.0.1"},
               {"mtu", 1500},
               {"interface", "eth0"},
               {"host_interface", "nk0000002a"},
               {"device_mode", "netkit"},
               {"network", "default"},
               {"notes", {"IPv6 is disabled in the container"}}};
    EXPECT_EQ(print_attached("web", reply),
              "web attached: 10.77.0.2 on eth0 (netkit, MTU 1500), gateway 10.77.0.1, host end nk0000002a, network "
              "default\n"
              "note: IPv6 is disabled in the container\n");
    reply["ipv6"] = "fd6e:6b64::2";
    reply["gateway6"] = "fd6e:6b64::1";
    EXPECT_THAT(print_attached("web", reply), AllOf(HasSubstr(": 10.77.0.2 and fd6e:6b64::2 on eth0"),
                                                    HasSubstr("gateway 10.77.0.1 and fd6e:6b64::1, ")));
    EXPECT_EQ(print_detached("web", {{"known", true}}), "web detached\n");
    EXPECT_EQ(print_detached("web", {{"known", false}}), "web was not attached\n");
}

}  // namespace
}  // namespace netkitd::ctl
