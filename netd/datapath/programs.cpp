#include "datapath/programs.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "datapath/attached_programs.h"
#include "datapath/bpf_log.h"
#include "datapath/flow_capacity.h"

namespace netkitd::datapath {
namespace {

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

Result<void> pin_maps(const netkitd_bpf& skeleton, const Pins& pins) {
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, skeleton.obj) {
        const char* const name = bpf_map__name(map);
        if (!layout_version(name)) {
            continue;
        }
        if (const int error = bpf_map__set_pin_path(map, pins.map(name).c_str()); error != 0) {
            return fail_errno(-error, "set the pin of map {}", name);
        }
    }
    return {};
}

void size_flow_maps(const netkitd_bpf& skeleton, const Pins& pins, const Upgrade& upgrade) {
    const std::uint32_t capacity = flow_capacity(total_memory_bytes());
    for (bpf_map* map : {skeleton.maps.flows4, skeleton.maps.flows6}) {
        const char* const name = bpf_map__name(map);
        const auto former = upgrade.former_capacity(name);
        bpf_map__set_max_entries(map, pinned_capacity(pins.map(name)).value_or(former.value_or(capacity)));
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
        case Part::sockets:
            return {programs.socket_connect4, programs.socket_connect6, programs.socket_peer4,
                    programs.socket_peer6,    programs.socket_bind4,    programs.socket_bind6};
        case Part::loopback:
            return {programs.loopback_egress};
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

Result<Programs> Programs::load(const Pins& pins, const Upgrade& upgrade, std::vector<Part> at_once) {
    const BpfLog log;
    Skeleton skeleton = NK_TRY(open(log));
    NK_TRY(pin_maps(*skeleton, pins));
    size_flow_maps(*skeleton, pins, upgrade);
    NK_TRY(upgrade.ask_for_memory(*skeleton));
    const auto& programs = skeleton->progs;
    std::vector<bpf_program*> wanted{programs.host_egress, programs.map_counts, programs.owner_sockets,
                                     programs.remove_flows, programs.insert_flows};
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

Result<bool> Programs::has(std::uint32_t program_id) const {
    for (const Skeleton* skeleton : every_skeleton()) {
        bpf_program* program = nullptr;
        bpf_object__for_each_program(program, (*skeleton)->obj) {
            if (bpf_program__fd(program) >= 0 && NK_TRY(id_of(*program)) == program_id) {
                return true;
            }
        }
    }
    return false;
}

std::vector<const Programs::Skeleton*> Programs::every_skeleton() const {
    std::vector<const Skeleton*> result{&base_};
    for (const Skeleton& part : parts_) {
        if (part) {
            result.push_back(&part);
        }
    }
    return result;
}

void wait_for_running_programs() {
    constexpr std::chrono::milliseconds kLongestRun{100};
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0) {
        std::this_thread::sleep_for(kLongestRun);  // as with nohz_full
    }
}

}  // namespace netkitd::datapath
