#include "bpf/verdict_table.h"

#include <ostream>

namespace netkitd::test {

std::ostream& operator<<(std::ostream& out, const VerdictTable& table) {
    return out << to_string(table.program) << ", " << table.name;
}

std::vector<VerdictTable> all_tables() {
    std::vector<VerdictTable> tables = container_tables();
    for (auto& more : {neighbour_tables(), uplink_tables()}) {
        tables.insert(tables.end(), more.begin(), more.end());
    }
    return tables;
}

}  // namespace netkitd::test
