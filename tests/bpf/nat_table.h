// What the flow tables hold of a conversation, compared with what the model of NAT (nat_model.h) knows.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "bpf/nat_model.h"

namespace netkitd::test {

// All that they have of one that is there for sure; nothing of any other.
[[nodiscard]] Bytes entries_of(const TestNode& node, const Conversation& c, const NatModel& model);
// As the daemon cleans up. False, and nothing done, if it is not there for sure.
[[nodiscard]] bool erase_entries_of(const TestNode& node, const Conversation& c, const NatModel& model);

using EndpointId = std::function<std::uint32_t(const Conversation&)>;
// What is wrong with the table of those that got an answer; empty: nothing is.
[[nodiscard]] std::string check_established(const TestNode& node, const NatModel& model, const EndpointId& endpoint_id);

}  // namespace netkitd::test
