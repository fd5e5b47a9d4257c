// What the flow tables hold of a conversation, compared with what the model of NAT (nat_model.h) knows.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "bpf/nat_model.h"

namespace netkitd::test {

// All that they have of one whose container is there; nothing of any other.
[[nodiscard]] Bytes entries_of(const TestNode& node, const Conversation& c, const NatModel& model);
// As the daemon cleans up. False, and nothing done, if there is no such one.
[[nodiscard]] bool erase_entries_of(const TestNode& node, const Conversation& c, const NatModel& model);

using EndpointId = std::function<std::uint32_t(const Conversation&)>;
// What is wrong with the tables; empty: nothing is.
[[nodiscard]] std::string check_table(const TestNode& node, const NatModel& model, const EndpointId& endpoint_id);

}  // namespace netkitd::test
