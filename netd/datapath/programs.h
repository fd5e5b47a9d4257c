// The BPF object as it is in the kernel: its maps, and its programs, each loaded when it is first needed.
//
// The verifier takes up to some 0.4 s for one program, and a node runs about half of them: those of its device mode and
// of its kind of uplink. So load() makes the maps, the programs that the daemon itself runs, and what the node is
// expected to need; each part of the rest is a load of its own over the same maps, globals and scratch maps among them:
// programs cannot tell that they were not loaded together. What is expected is loaded at once because libbpf reads the
// kernel's types for each load, all 5 MB of them, which takes as long as the verifier does.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "abi.h"
#include "base/result.h"
#include "datapath/bpf_log.h"
#include "datapath/pins.h"
#include "datapath/upgrade.h"
#include "netkitd.skel.h"

namespace netkitd::datapath {

// What is loaded together: a container's program, the two directions of an uplink, what sockets and the loopback device
// run for published ports.
enum class Part : std::uint8_t { netkit, veth, uplink, uplink_l3, sockets, loopback };

class Programs {
public:
    // Reuses maps that are pinned already, with the size that they have; the others are pinned. The verifier's log is
    // in the error.
    [[nodiscard]] static Result<Programs> load(const Pins& pins, const Upgrade& upgrade, std::vector<Part> at_once);

    // The skeleton that load() made: its maps, globals, what the daemon runs, and what was loaded at once.
    [[nodiscard]] const netkitd_bpf& base() const { return *base_; }
    [[nodiscard]] const auto& maps() const { return base_->maps; }

    // A skeleton in which this part's programs are loaded; its maps are those of base(). The verifier's log is in the
    // error.
    [[nodiscard]] Result<const netkitd_bpf*> need(Part part);

    // Whether a program is one of those that were loaded.
    [[nodiscard]] Result<bool> has(std::uint32_t program_id) const;

private:
    struct Closer {
        void operator()(netkitd_bpf* skeleton) const { netkitd_bpf__destroy(skeleton); }
    };
    using Skeleton = std::unique_ptr<netkitd_bpf, Closer>;
    static constexpr std::size_t kParts = 6;

    Programs(Skeleton base, std::vector<Part> in_base) : base_(std::move(base)), in_base_(std::move(in_base)) {}
    [[nodiscard]] static Result<Skeleton> open(const BpfLog& log);
    [[nodiscard]] std::vector<const Skeleton*> every_skeleton() const;

    Skeleton base_;
    std::vector<Part> in_base_;
    std::array<Skeleton, kParts> parts_;  // by Part
};

// Returns when every program has ended that was running when its link got another.
void wait_for_running_programs();

}  // namespace netkitd::datapath
