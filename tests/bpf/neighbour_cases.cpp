// What a container asks its link, by ARP and by neighbour solicitations.
#include <gtest/gtest.h>

#include "bpf/packets.h"
#include "bpf/verdict_table.h"

namespace netkitd::test {
namespace {

constexpr Mac kBroadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr const char* kL3Container4 = "10.77.0.44";
constexpr const char* kL3Container6 = "2001:db8:77::44";

Packet asks4(std::string_view source, std::string_view asked) {
    return Packet().eth(kBroadcast, kContainerMac).arp_request(kContainerMac, source, asked);
}

Packet asks6(std::string_view source, std::string_view asked) {
    return Packet().eth(kHostEndMac, kContainerMac).neighbour_solicitation(kContainerMac, source, asked);
}

VerdictCase answered(std::string name, Packet question, Packet answer) {
    VerdictCase row;
    row.name = std::move(name);
    row.device = "nkweb";
    row.packet = std::move(question);
    row.verdict = Verdict::redirect;
    row.counted = {{"neighbour-answered", 1}};
    row.becomes = answer.eth(kContainerMac, kHostEndMac);
    return row;
}

VerdictCase answered4(std::string name, std::string_view asked) {
    const std::string& web = ipv4().web;
    return answered(std::move(name), asks4(web, asked), Packet().arp_reply(kHostEndMac, asked, kContainerMac, web));
}

VerdictCase answered6(std::string name, std::string_view asked) {
    const std::string& web = ipv6().web;
    return answered(std::move(name), asks6(web, asked), Packet().neighbour_advertisement(kHostEndMac, asked, web));
}

VerdictCase dropped(std::string name, std::string reason, Packet packet) {
    VerdictCase row;
    row.name = std::move(name);
    row.device = "nkweb";
    row.packet = std::move(packet);
    row.verdict = Verdict::drop;
    row.counted = {{std::move(reason), 1}};
    return row;
}

VerdictCase of_an_l3_container(VerdictCase row) {
    row.prepare = [](TestNode& node) {
        EXPECT_TRUE(node.add_endpoint(kL3Container4, "nkweb", 9, NK_DEVICE_NETKIT));
        EXPECT_TRUE(node.add_endpoint(kL3Container6, "nkweb", 9, NK_DEVICE_NETKIT));
    };
    return row;
}

// An ARP packet with one byte changed.
Packet wrong_arp(std::size_t offset, std::uint8_t value) {
    constexpr std::size_t kEthernet = 14;
    const Bytes frame = asks4(ipv4().web, ipv4().gateway).bytes();
    Bytes arp(frame.begin() + kEthernet, frame.end());
    arp.at(offset) = value;
    return Packet().eth(kBroadcast, kContainerMac).arp(arp);
}

std::vector<VerdictCase> arp_cases() {
    const Net& net = ipv4();
    const Packet question = asks4(net.web, net.gateway);
    return {
        answered4("TheGateway", net.gateway),
        answered4("AnotherContainer", net.db),
        answered4("AnAddressOutside", net.remote),
        dropped("AProbe", "link-scope", asks4("0.0.0.0", net.web)),
        dropped("AnAnnouncement", "link-scope", asks4(net.web, net.web)),
        dropped("AnAnswer", "link-scope",
                Packet().eth(kHostEndMac, kContainerMac).arp_reply(kContainerMac, net.web, kHostEndMac, net.gateway)),
        dropped("InTheNameOfAnotherContainer", "spoofed-source", asks4(net.db, net.gateway)),
        dropped("InTheNameOfNobody", "spoofed-source", asks4(net.nobody, net.gateway)),
        of_an_l3_container(dropped("FromALinkWithoutAddresses", "not-ip", asks4(kL3Container4, net.gateway))),
        dropped("BehindAVlanTag", "not-ip", Packet(question).vlan(5)),
        dropped("Cut", "malformed", Packet(question).cut_to(14 + 27)),
        dropped("OfAnotherLink", "malformed", wrong_arp(1, 6)),
        dropped("OfAnotherProtocol", "malformed", wrong_arp(2, 0x86)),
        dropped("OfLongerLinkAddresses", "malformed", wrong_arp(4, 8)),
        dropped("OfLongerAddresses", "malformed", wrong_arp(5, 16)),
        dropped("OfAnotherOperation", "malformed", wrong_arp(7, 3)),
    };
}

std::vector<VerdictCase> solicitation_cases() {
    const Net& net = ipv6();
    const Packet question = asks6(net.web, net.gateway);
    const auto without_option = [](std::string_view source, std::string_view asked) {
        return asks6(source, asked).cut_to(14 + 64).ip_total_length(24);
    };
    return {
        answered6("TheGateway", net.gateway),
        answered6("AnotherContainer", net.db),
        answered6("AnAddressOutside", net.remote),
        // As a stack asks that has an answer already and wants to know whether it still holds.
        answered("TheGatewayItself", Packet(question).to(net.gateway, 0),
                 Packet().neighbour_advertisement(kHostEndMac, net.gateway, net.web)),
        dropped("DuplicateDetection", "link-scope", without_option("::", net.web)),
        dropped("ItsOwnAddress", "link-scope", asks6(net.web, net.web)),
        dropped("ALinkLocalAddress", "link-scope", asks6(net.web, "fe80::1")),
        dropped("FromALinkLocalAddress", "link-scope", asks6("fe80::2", net.gateway)),
        dropped("AForwardedOne", "link-scope", Packet(question).ttl(254)),
        dropped("InTheNameOfAnotherContainer", "spoofed-source", asks6(net.db, net.gateway)),
        of_an_l3_container(dropped("FromALinkWithoutAddresses", "link-scope", asks6(kL3Container6, net.gateway))),
        dropped("BehindAVlanTag", "not-ip", Packet(question).vlan(5)),
        dropped("WithACode", "malformed", Packet(question).icmp(135, 1)),
        dropped("WithoutItsAddress", "malformed", without_option(net.web, net.gateway)),
        dropped("WithAnotherOption", "malformed", Packet(question).neighbour_option(2, 1)),
        dropped("WithALongerAddress", "malformed", Packet(question).neighbour_option(1, 2)),
        dropped("ShorterThanItsOption", "malformed", Packet(question).ip_total_length(31)),
        dropped("LongerThanItIs", "malformed", Packet(question).ip_total_length(33)),
        dropped("Cut", "malformed", Packet(question).cut_to(14 + 60)),
    };
}

}  // namespace

std::vector<VerdictTable> neighbour_tables() {
    std::vector<VerdictTable> tables;
    for (const Program program : {Program::netkit_peer, Program::veth_ingress}) {
        tables.push_back({program, "Arp", arp_cases(), ""});
        tables.push_back({program, "NeighbourSolicitations", solicitation_cases(), ""});
    }
    return tables;
}

}  // namespace netkitd::test
