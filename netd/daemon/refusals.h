// Containers whose packets are being dropped for want of something that others can give: an uplink, a port, a share of
// what all have in common; and the host, if its flows are more than its share. status says so while it goes on, and the
// journal once a minute at most.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace netkitd {

class Node;

// One sentence for each of them and reason.
[[nodiscard]] std::vector<std::string> describe_refusals(const Node& node);

class RefusalLog {
public:
    // To be called now and then.
    void log_what_goes_on(const Node& node, std::chrono::steady_clock::time_point now);

private:
    std::chrono::steady_clock::time_point next_look_;
};

}  // namespace netkitd
