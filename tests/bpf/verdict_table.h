// The tables of the verdict test: one row a situation, for each program that a packet can meet. A row's name says what
// is special about it, and is its own in its table.
#pragma once

#include <netinet/in.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bpf/packets.h"
#include "harness/prog_run.h"

namespace netkitd::test {

struct VerdictCase {
    std::string name;
    std::string device;  // that the packet leaves (container) or comes in on (uplink)
    Packet packet;
    Verdict verdict{};
    // Every counter that moves, and by how much; those not named here must stand still.
    std::map<std::string, std::uint64_t> counted;
    // The packet afterwards; unchanged if absent.
    std::optional<Packet> becomes;
    RunOptions run;
    TestNode::Options node;
    // It is cut: the kernel does not go on with the sum of a whole packet then (__skb_trim_rcsum()).
    bool is_cut = false;
    // Fills flow maps or changes settings, which are as new for each row.
    std::function<void(TestNode&)> prepare;
    // Undoes what else `prepare` did.
    std::function<void()> undo;
    // For rows whose `node` has maps of another size. Takes as long as all others: the programs are loaded anew.
    bool own_node = false;
};

// With web's flow to the remote in `stage`; its packets are those of from_web*() and their replies.
[[nodiscard]] VerdictCase with_flow(const Net& net, VerdictCase row, Stage stage, std::uint8_t protocol = IPPROTO_TCP,
                                    std::uint16_t source_port = 50000);

struct VerdictTable {
    Program program{};
    std::string name;
    std::vector<VerdictCase> rows;
    std::string family;  // "V4" or "V6" if there is one for each
};

// From a container; each table for netkit_peer and for veth_ingress.
[[nodiscard]] std::vector<VerdictTable> container_tables();
[[nodiscard]] std::vector<VerdictTable> neighbour_tables();
[[nodiscard]] std::vector<VerdictTable> to_container_tables();
[[nodiscard]] std::vector<VerdictTable> uplink_tables();
[[nodiscard]] std::vector<VerdictTable> icmp_error_tables();
[[nodiscard]] std::vector<VerdictTable> loopback_tables();
[[nodiscard]] std::vector<VerdictTable> all_tables();

}  // namespace netkitd::test
