#include "datapath/flow_takeover.h"

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "abi.h"
#include "datapath/flow_key.h"
#include "datapath/map_entries.h"
#include "datapath/run_program.h"

namespace netkitd::datapath {
namespace {

using std::chrono::nanoseconds;

// An entry of a former table, as this version has it.
template <typename Key>
class Entry {
public:
    Entry(const Key& key, const nk_flow& value) : key_(key), value_(value) {}

    // Whether the reverse half that this flow wants is there, and whether it is another's.
    struct Claim {
        bool is_there = false;
        bool is_taken = false;
    };
    [[nodiscard]] Claim claim(int map) const {
        const auto found = find_entry(map, reverse());
        const bool is_taken =
            found && (found->endpoint_id != value_.endpoint_id || !is_same(other_key(reverse(), *found), forward()));
        return {.is_there = found.has_value(), .is_taken = is_taken};
    }
    void forget_forward(int map) const {
        const auto found = find_entry(map, forward());
        if (found && is_same(other_key(forward(), *found), reverse())) {
            const Key key = forward();
            bpf_map_delete_elem(map, &key);
        }
    }
    // 0, or an errno.
    [[nodiscard]] Result<int> put(const NewFlows& flows) const {
        const auto present = find_entry(flows.map, key_);
        if (!present) {
            return insert(flows.insert_program);
        }
        const bool is_newer = present->last_seen_ns < value_.last_seen_ns;
        const bool has_reply = (value_.flags & ~present->flags & NK_FLOW_ANSWERED) != 0;
        if (!is_same_flow(*present) || (!is_newer && !has_reply)) {
            return 0;
        }
        nk_flow value = is_newer ? value_ : *present;
        value.flags |= (present->flags | value_.flags) & NK_FLOW_ANSWERED;
        return bpf_map_update_elem(flows.map, &key_, &value, BPF_EXIST) == 0 ? 0 : errno;
    }
    [[nodiscard]] bool is_forward() const { return key_.direction == NK_FLOW_FORWARD; }

private:
    [[nodiscard]] Key reverse() const { return is_forward() ? other_key(key_, value_) : key_; }
    [[nodiscard]] Key forward() const { return is_forward() ? key_ : other_key(key_, value_); }
    [[nodiscard]] bool is_same_flow(const nk_flow& present) const {
        return present.endpoint_id == value_.endpoint_id && is_same(other_key(key_, present), other_key(key_, value_));
    }
    [[nodiscard]] Result<int> insert(int program) const {
        constexpr bool kV6 = std::is_same_v<Key, nk_flow6_key>;
        nk_flow_insertion insertion{.key = widen(key_),
                                    .family = kV6 ? AF_INET6 : AF_INET,
                                    .answer = 0,
                                    .reserved = 0,
                                    .reserved2 = 0,
                                    .value = value_};
        NK_TRY(run_program(program, std::span(&insertion, 1), NK_FLOW_INSERTIONS, "take over a flow"));
        return insertion.answer;
    }

    Key key_;
    nk_flow value_;
};

// False: there was no room.
template <typename Key>
Result<bool> take(const Entry<Key>& entry, const NewFlows& flows) {
    // Once more if a program made the entry just now.
    for (int attempt = 0; attempt < 2; ++attempt) {
        const auto claim = entry.claim(flows.map);
        if (claim.is_taken) {
            entry.forget_forward(flows.map);
            return true;
        }
        if (entry.is_forward() && !claim.is_there) {
            return true;
        }
        const int error = NK_TRY(entry.put(flows));
        if (error == E2BIG || error == ENOMEM) {
            return false;
        }
        if (error != 0 && error != EEXIST && error != ENOENT) {
            return fail_errno(error, "take over a flow");
        }
        if (error == 0) {
            return true;
        }
    }
    return true;
}

// A layout that grew at its end is converted like this; what the former had no room for is zero. The way that it
// remembers is asked for anew.
nk_flow converted(std::span<const std::byte> former, FormerFlows::Kind kind) {
    nk_flow flow{};
    std::memcpy(&flow, former.data(), std::min(sizeof(flow), former.size()));
    flow.stamp = 0;
    flow.flags |= kind == FormerFlows::Kind::flows_with_a_reply ? std::uint32_t{NK_FLOW_ANSWERED} : 0;
    return flow;
}

// In the first version a connection that kept its port had no forward half before its first reply: its reverse half
// knew the uplink. Without it the next SYN might get another port, and the remote would have two connections.
template <typename Key>
Entry<Key> forward_half(const Key& key, const nk_flow& reverse) {
    nk_flow forward = reverse;
    forward.addr = widen(key).daddr;
    forward.port = key.dport;
    forward.flags &= NK_FLOW_SYN;
    forward.ifindex = reverse.uplink_ifindex;
    return {other_key(key, reverse), forward};
}

template <typename Key>
class Takeover {
public:
    Takeover(const FormerFlows& former, const NewFlows& flows, nanoseconds since)
        : former_(former), flows_(flows), since_(since) {}

    // How many there was no room for.
    [[nodiscard]] Result<std::uint64_t> all() {
        if (former_.info.key_size != sizeof(Key)) {
            return fail(ErrorKind::internal, "take over map {}: its keys have another size", former_.info.name);
        }
        // The halves that have the ports first.
        for (const nk_flow_direction direction : {NK_FLOW_REVERSE, NK_FLOW_FORWARD}) {
            const auto visit = [&](std::span<const std::byte> bytes, std::span<const std::byte> value) {
                Key key{};
                std::memcpy(&key, bytes.data(), sizeof(key));
                return key.direction == direction ? visit_one(key, converted(value, former_.kind)) : Result<void>{};
            };
            NK_TRY(for_each_entry(former_.map, former_.info, visit));
        }
        return no_room_;
    }

private:
    [[nodiscard]] Result<void> visit_one(const Key& key, nk_flow flow) {
        if (std::cmp_less(std::max(flow.last_seen_ns, flow.created_ns), since_.count())) {
            return {};
        }
        const bool is_reverse = key.direction == NK_FLOW_REVERSE;
        const Entry<Key> forward = forward_half(key, flow);
        if (is_reverse) {
            flow.host_socket_stamp = 0;
        }
        NK_TRY(take_one(Entry<Key>(key, flow)));
        if (is_reverse && former_.kind == FormerFlows::Kind::flows_without_a_reply) {
            NK_TRY(take_one(forward));
        }
        return {};
    }
    [[nodiscard]] Result<void> take_one(const Entry<Key>& entry) {
        no_room_ += NK_TRY(take(entry, flows_)) ? 0U : 1U;
        return {};
    }

    const FormerFlows& former_;
    const NewFlows& flows_;
    nanoseconds since_;
    std::uint64_t no_room_ = 0;
};

}  // namespace

Result<std::uint64_t> take_over_flows(IpFamily family, const FormerFlows& former, const NewFlows& flows,
                                      std::chrono::nanoseconds since) {
    return family == IpFamily::v4 ? Takeover<nk_flow4_key>(former, flows, since).all()
                                  : Takeover<nk_flow6_key>(former, flows, since).all();
}

}  // namespace netkitd::datapath
