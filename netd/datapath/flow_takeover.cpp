#include "datapath/flow_takeover.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include "abi.h"
#include "datapath/flow_key.h"
#include "datapath/map_entries.h"

namespace netkitd::datapath {
namespace {

// An entry of a former table, as this version has it.
template <typename Key>
class Entry {
public:
    Entry(const Key& key, const nk_flow& value) : key_(key), value_(value) {}

    // Whether another flow has the reverse half that this one wants.
    [[nodiscard]] bool is_taken(int map) const {
        const auto found = find_entry(map, reverse());
        return found && (found->endpoint_id != value_.endpoint_id || !is_same(other_key(reverse(), *found), forward()));
    }
    void forget_forward(int map) const {
        const auto found = find_entry(map, forward());
        if (found && is_same(other_key(forward(), *found), reverse())) {
            const Key key = forward();
            bpf_map_delete_elem(map, &key);
        }
    }
    // 0, or an errno.
    [[nodiscard]] int put(int map) const {
        const auto present = find_entry(map, key_);
        if (present && (present->last_seen_ns >= value_.last_seen_ns || !is_same_flow(*present))) {
            return 0;
        }
        return bpf_map_update_elem(map, &key_, &value_, present ? BPF_ANY : BPF_NOEXIST) == 0 ? 0 : errno;
    }
    [[nodiscard]] bool is_in(int map) const { return find_entry(map, key_).has_value(); }

private:
    [[nodiscard]] Key reverse() const { return key_.direction == NK_FLOW_REVERSE ? key_ : other_key(key_, value_); }
    [[nodiscard]] Key forward() const { return key_.direction == NK_FLOW_FORWARD ? key_ : other_key(key_, value_); }
    [[nodiscard]] bool is_same_flow(const nk_flow& present) const {
        return present.endpoint_id == value_.endpoint_id && is_same(other_key(key_, present), other_key(key_, value_));
    }

    Key key_;
    nk_flow value_;
};

// False: there was no room.
template <typename Key>
Result<bool> take(const Entry<Key>& entry, const NewFlowMaps& maps, bool established) {
    const std::array both{maps.fresh, maps.established};
    // Once more if a program made the entry just now.
    for (int attempt = 0; attempt < 2; ++attempt) {
        if (std::ranges::any_of(both, [&](int map) { return entry.is_taken(map); })) {
            std::ranges::for_each(both, [&](int map) { entry.forget_forward(map); });
            return true;
        }
        // It got its first reply since.
        if (!established && entry.is_in(maps.established)) {
            return true;
        }
        const int error = entry.put(established ? maps.established : maps.fresh);
        if (error == E2BIG || error == ENOMEM) {
            return false;
        }
        if (error != 0 && error != EEXIST) {
            return fail_errno(error, "take over a flow");
        }
        if (error == 0) {
            return true;
        }
    }
    return true;
}

template <typename Key>
Result<std::uint64_t> take_all(int former, const bpf_map_info& info, const NewFlowMaps& maps, bool established,
                               std::chrono::nanoseconds since) {
    std::uint64_t no_room = 0;
    if (info.key_size != sizeof(Key)) {
        return fail(ErrorKind::internal, "take over map {}: its keys have another size", info.name);
    }
    NK_TRY(for_each_entry(former, info,
                          [&](std::span<const std::byte> key, std::span<const std::byte> value) -> Result<void> {
                              Key typed_key{};
                              std::memcpy(&typed_key, key.data(), sizeof(typed_key));
                              // A layout that grew at its end is converted like this; what the former had no room for
                              // is zero.
                              nk_flow flow{};
                              std::memcpy(&flow, value.data(), std::min(sizeof(flow), value.size()));
                              if (std::cmp_less(std::max(flow.last_seen_ns, flow.created_ns), since.count())) {
                                  return {};
                              }
                              no_room += NK_TRY(take(Entry<Key>(typed_key, flow), maps, established)) ? 0U : 1U;
                              return {};
                          }));
    return no_room;
}

}  // namespace

Result<std::uint64_t> take_over_flows(IpFamily family, int former, const bpf_map_info& info, const NewFlowMaps& maps,
                                      bool established, std::chrono::nanoseconds since) {
    return family == IpFamily::v4 ? take_all<nk_flow4_key>(former, info, maps, established, since)
                                  : take_all<nk_flow6_key>(former, info, maps, established, since);
}

}  // namespace netkitd::datapath
