// What the host's stack sends to a container, at netkitd0.
#include <linux/if_ether.h>
#include <netinet/in.h>

#include <gtest/gtest.h>

#include "bpf/packets.h"
#include "bpf/verdict_table.h"

namespace netkitd::test {
namespace {

VerdictCase row(std::string name, Verdict verdict, std::map<std::string, std::uint64_t> counted, Packet packet) {
    VerdictCase row;
    row.name = std::move(name);
    row.device = "netkitd0";
    row.packet = std::move(packet);
    row.verdict = verdict;
    row.counted = std::move(counted);
    return row;
}

VerdictCase gets_in(std::string name, const Packet& packet) {
    VerdictCase result = row(std::move(name), Verdict::redirect, {}, packet);
    result.becomes = Packet(packet).eth(kContainerMac, kHostEndMac);
    return result;
}

VerdictCase refused(std::string name, std::string reason, Packet packet) {
    return row(std::move(name), Verdict::drop, {{std::move(reason), 1}}, std::move(packet));
}

VerdictCase forwarded_from(std::string device, VerdictCase row) {
    row.run.came_in_by = std::move(device);
    return row;
}

VerdictCase with_flags(const Net& net, std::size_t network, std::uint32_t flags, VerdictCase row) {
    row.prepare = [&net, network, flags](TestNode& node) { node.network(network, net.is_ipv6()).flags |= flags; };
    return row;
}

VerdictCase with_non_masquerade(const Net& net, VerdictCase row) {
    row.prepare = [&net](TestNode& node) { ASSERT_TRUE(node.add_non_masquerade(net.only_remote())); };
    return row;
}

std::vector<VerdictCase> of_the_host(const Net& net) {
    const Packet tcp = Packet().ip(net.gateway, net.web).tcp(40000, 80).syn();
    const std::string in_netkit = net.is_ipv6() ? "2001:db8:77::50" : "10.77.0.50";
    VerdictCase netkit = row("ToNetkit", Verdict::redirect, {}, Packet(tcp).to(in_netkit, 80));
    netkit.prepare = [=](TestNode& node) { ASSERT_TRUE(node.add_endpoint(in_netkit, "nkweb", 9, NK_DEVICE_NETKIT)); };
    VerdictCase large = gets_in("ALargeSend", Packet(tcp).payload(2000));
    large.run.gso_size = 1200;
    return {
        gets_in("Tcp", tcp),
        gets_in("Udp", Packet().ip(net.node, net.web).udp(40000, 53)),
        gets_in("Ping", Packet().ip(net.node, net.web).echo_request(7)),
        gets_in("AnyProtocol", Packet().ip(net.node, net.web).protocol(IPPROTO_GRE)),
        gets_in("ToARoutedNetwork", Packet().ip(net.node, net.routed).tcp(40000, 80).syn()),
        gets_in("FromAnyAddressOfTheHosts", Packet().ip(net.other_node, net.web).udp(40000, 53)),
        with_flags(net, 0, NK_NETWORK_ISOLATED, gets_in("ToAnIsolatedNetwork", tcp)),
        netkit,
        large,
    };
}

std::vector<VerdictCase> forwarded_cases(const Net& net) {
    const Packet packet = Packet().ip(net.remote, net.web).tcp(443, 50000).syn();
    const Packet to_routed = Packet().ip(net.remote, net.routed).tcp(443, 50000).syn();
    const auto by_card = [](VerdictCase row) { return forwarded_from("eth0", std::move(row)); };
    return {
        by_card(refused("ToAMasqueradedNetwork", "unsolicited", packet)),
        by_card(with_non_masquerade(net, gets_in("FromWhereItsAddressesAreKnown", packet))),
        by_card(with_flags(net, 0, NK_NETWORK_ACCEPT_FORWARDED, gets_in("WhereTheNetworkSaysSo", packet))),
        by_card(refused("FromAnothersAddress", "unsolicited", Packet().ip(net.db, net.web).tcp(443, 50000).syn())),
        by_card(with_flags(
            net, 0, NK_NETWORK_ACCEPT_FORWARDED,
            refused("FromAnothersAddressAnywhere", "unsolicited", Packet().ip(net.db, net.web).tcp(443, 50000).syn()))),
        forwarded_from("netkitd0", refused("OfAContainer", "unsolicited", Packet().ip(net.db, net.web).udp(443, 7))),
        forwarded_from("netkitd0", with_flags(net, 0, NK_NETWORK_ACCEPT_FORWARDED,
                                              refused("OfAContainerByARuleThatMasquerades", "unsolicited",
                                                      Packet().ip(net.node, net.web).udp(443, 7)))),
        forwarded_from("netkitd0", refused("TheSameToARoutedNetwork", "unsolicited",
                                           Packet().ip(net.node, net.routed).udp(443, 7))),
        by_card(gets_in("ToARoutedNetwork", to_routed)),
        by_card(refused("FromAContainersAddressToARoutedNetwork", "unsolicited",
                        Packet().ip(net.web, net.routed).udp(443, 50000))),
        by_card(refused("ToNobodyInAMasqueradedNetwork", "unsolicited", Packet().ip(net.remote, net.nobody).udp(1, 2))),
    };
}

// Whoever asked is told, from the address that he asked.
std::vector<VerdictCase> without_container(const Net& net) {
    const std::uint8_t type = net.is_ipv6() ? 1 : 3;
    const std::uint8_t code = net.is_ipv6() ? 3 : 1;
    const auto told = [&](std::string name, const Packet& packet, std::size_t quoted) {
        VerdictCase result = row(std::move(name), Verdict::redirect, {{"no-container", 1}}, packet);
        result.becomes = address_unreachable(net, net.nobody, net.node, packet, quoted);
        result.is_cut = true;
        return result;
    };
    const auto ended = [](std::string name, const Packet& packet) {
        return row(std::move(name), Verdict::drop, {{"no-container", 1}}, packet);
    };
    const Packet tcp = Packet().ip(net.node, net.nobody).tcp(40000, 80).syn();
    VerdictCase routed = row("OfARoutedNetworkForwarded", Verdict::redirect, {{"no-container", 1}},
                             Packet().ip(net.remote, net.routed_nobody).tcp(443, 80).syn());
    routed.becomes = address_unreachable(net, net.routed_nobody, net.remote, routed.packet, 20);
    VerdictCase large = told("ALargeSend", Packet(tcp).payload(2000), 20);
    large.run.gso_size = 1200;
    return {
        told("Tcp", tcp, 20),
        told("TcpWithData", Packet(tcp).payload(100), 20),
        told("Udp", Packet().ip(net.node, net.nobody).udp(40000, 53), 8),
        told("UdpWithData", Packet().ip(net.node, net.nobody).udp(40000, 53).payload(50), 20),
        told("Ping", Packet().ip(net.node, net.nobody).echo_request(7), 8),
        large,
        forwarded_from("eth0", routed),
        ended("AnIcmpError",
              Packet().ip(net.node, net.nobody).icmp(type, code).quoting(Packet().ip(net.nobody, net.node).udp(1, 2))),
        ended("AnEchoReply", Packet().ip(net.node, net.nobody).echo_reply(7)),
        ended("ALaterFragment", Packet().ip(net.node, net.nobody).fragment(100, false).udp(1, 2)),
        ended("WhatHasNoPorts", Packet().ip(net.node, net.nobody).protocol(IPPROTO_GRE).payload(8)),
    };
}

std::vector<VerdictCase> other_frames() {
    return {
        refused("Arp", "not-ip", Packet().eth(kContainerMac, kHostEndMac).arp()),
        refused("Multicast", "link-scope", Packet().ip("10.77.0.1", "224.0.0.251").udp(5353, 5353)),
        refused("MulticastV6", "link-scope", Packet().ip("2001:db8:77::1", "ff02::fb").udp(5353, 5353)),
    };
}

}  // namespace

std::vector<VerdictTable> to_container_tables() {
    std::vector<VerdictTable> tables{{Program::host_egress, "OtherFrames", other_frames(), ""}};
    for (const Net* net : {&ipv4(), &ipv6()}) {
        tables.push_back({Program::host_egress, "OfTheHost", of_the_host(*net), net->name});
        tables.push_back({Program::host_egress, "Forwarded", forwarded_cases(*net), net->name});
        tables.push_back({Program::host_egress, "WithoutContainer", without_container(*net), net->name});
    }
    return tables;
}

}  // namespace netkitd::test
