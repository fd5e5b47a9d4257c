#include "bpf/verdict_table.h"

#include <algorithm>
#include <iterator>
#include <ostream>

namespace netkitd::test {

std::ostream& operator<<(std::ostream& out, const VerdictTable& table) {
    return out << to_string(table.program) << ", " << table.name;
}

std::vector<VerdictTable> all_tables() {
    std::vector<VerdictTable> tables = container_tables();
    for (std::vector<VerdictTable> more : {neighbour_tables(), uplink_tables(), icmp_error_tables()}) {
        std::ranges::move(more, std::back_inserter(tables));
    }
    return tables;
}

}  // namespace netkitd::test
