#include "datapath/programs.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/unique_fd.h"
#include "datapath/bpf_log.h"
#include "datapath/flow_capacity.h"

namespace netkitd::datapath {
namespace {

// What programs put together there, or found out a moment ago, or are told of the host, is of one daemon, as their
// globals are.
bool is_scratch(const bpf_map& map) {
    static constexpr auto kScratch = std::to_array<std::string_view>(
        {"halves", "host_prefixes4", "host_prefixes6", "masquerades", "next_hops", "quotes", "routes"});
    return bpf_map__is_internal(&map) || std::ranges::contains(kScratch, std::string_view(bpf_map__name(&map)));
}

// That of a map that is pinned already: traffic uses it, it stays as it is.
std::optional<std::uint32_t> pinned_capacity(const std::string& path) {
    const UniqueFd map(bpf_obj_get(path.c_str()));
    bpf_map_info info{};
    std::uint32_t size = sizeof(info);
    if (!map || bpf_map_get_info_by_fd(map.get(), &info, &size) != 0) {
        return std::nullopt;  // loading says what is wrong with it, if anything
    }
    return info.max_entries;
}

// Counts are no state: those of a version whose counters had another size are forgotten. The programs that it left
// attached count in its map until they are replaced.
Result<void> forget_counters_of_another_size(const bpf_map& map, const std::string& path) {
    const auto capacity = pinned_capacity(path);
    if (std::string_view(bpf_map__name(&map)) != "counters" || !capacity || *capacity == bpf_map__max_entries(&map)) {
        return {};
    }
    if (::unlink(path.c_str()) != 0) {
        return fail_errno(errno, "unpin {}", path);
    }
    log(LogLevel::notice, "the counters begin anew: those of the version before had another size");
    return {};
}

Result<void> pin_maps(const netkitd_bpf& skeleton, const Pins& pins) {
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, skeleton.obj) {
        if (is_scratch(*map)) {
            continue;
        }
        const std::string path = pins.map(bpf_map__name(map));
        NK_TRY(forget_counters_of_another_size(*map, path));
        if (const int error = bpf_map__set_pin_path(map, path.c_str()); error != 0) {
            return fail_errno(-error, "set the pin of map {}", bpf_map__name(map));
        }
    }
    return {};
}

void size_flow_maps(const netkitd_bpf& skeleton, const Pins& pins) {
    const std::uint32_t capacity = established_flow_capacity(total_memory_bytes());
    for (bpf_map* map : {skeleton.maps.flows4, skeleton.maps.flows6}) {
        bpf_map__set_max_entries(map, pinned_capacity(pins.map(bpf_map__name(map))).value_or(capacity));
    }
}

Result<void> share_maps(const netkitd_bpf& skeleton, const netkitd_bpf& base) {
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, skeleton.obj) {
        const char* name = bpf_map__name(map);
        const int shared = bpf_map__fd(bpf_object__find_map_by_name(base.obj, name));
        if (const int error = bpf_map__reuse_fd(map, shared); error != 0) {
            return fail_errno(-error, "share map {}", name);
        }
    }
    return {};
}

std::vector<bpf_program*> programs_of(const netkitd_bpf& skeleton, Part part) {
    const auto& programs = skeleton.progs;
    switch (part) {
        case Part::netkit:
            return {programs.netkit_peer};
        case Part::veth:
            return {programs.veth_ingress};
        case Part::uplink:
            return {programs.uplink_ingress, programs.uplink_egress};
        case Part::uplink_l3:
            return {programs.uplink_l3_ingress, programs.uplink_l3_egress};
    }
    return {};
}

Result<void> load_only(netkitd_bpf& skeleton, const std::vector<bpf_program*>& wanted, const BpfLog& log) {
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton.obj) {
        bpf_program__set_autoload(program, std::ranges::contains(wanted, program));
    }
    if (const int error = netkitd_bpf__load(&skeleton); error != 0) {
        return fail_errno(-error, "load the BPF programs:\n{}", log.tail());
    }
    return {};
}

}  // namespace

Result<Programs::Skeleton> Programs::open(const BpfLog& log) {
    Skeleton skeleton(netkitd_bpf__open());
    if (!skeleton) {
        return fail_errno(errno, "open the BPF programs: {}", log.tail());
    }
    return skeleton;
}

Result<Programs> Programs::load(const Pins& pins, std::vector<Part> at_once) {
    const BpfLog log;
    Skeleton skeleton = NK_TRY(open(log));
    NK_TRY(pin_maps(*skeleton, pins));
    size_flow_maps(*skeleton, pins);
    std::vector<bpf_program*> wanted{skeleton->progs.map_counts};
    for (const Part part : at_once) {
        std::ranges::copy(programs_of(*skeleton, part), std::back_inserter(wanted));
    }
    NK_TRY(load_only(*skeleton, wanted, log));
    return Programs(std::move(skeleton), std::move(at_once));
}

Result<const netkitd_bpf*> Programs::need(Part part) {
    if (std::ranges::contains(in_base_, part)) {
        return base_.get();
    }
    Skeleton& place = parts_.at(std::to_underlying(part));
    if (!place) {
        const BpfLog log;
        Skeleton skeleton = NK_TRY(open(log));
        NK_TRY(share_maps(*skeleton, *base_));
        NK_TRY(load_only(*skeleton, programs_of(*skeleton, part), log));
        place = std::move(skeleton);
    }
    return place.get();
}

}  // namespace netkitd::datapath
