#include "bpf/verdict_table.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <iterator>

namespace netkitd::test {

VerdictCase with_flow(const Net& net, VerdictCase row, Stage stage, std::uint8_t protocol, std::uint16_t source_port) {
    row.prepare = [=](TestNode& node) {
        const auto inserted = node.insert(stage, Flow{.protocol = protocol,
                                                      .source = net.web,
                                                      .source_port = source_port,
                                                      .destination = net.remote,
                                                      .translated = net.node});
        EXPECT_TRUE(inserted) << inserted.error().message();
    };
    return row;
}

std::vector<VerdictTable> all_tables() {
    std::vector<VerdictTable> tables = container_tables();
    for (std::vector<VerdictTable> more :
         {neighbour_tables(), to_container_tables(), loopback_tables(), uplink_tables(), icmp_error_tables()}) {
        std::ranges::move(more, std::back_inserter(tables));
    }
    return tables;
}

}  // namespace netkitd::test
