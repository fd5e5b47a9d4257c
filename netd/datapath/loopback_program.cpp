#include "datapath/loopback_program.h"

#include <bpf/libbpf.h>

#include <string>

#include "datapath/bpf_log.h"
#include "datapath/link_pin.h"
#include "link/device.h"

namespace netkitd::datapath {

Result<void> LoopbackProgram::attach() const {
    bpf_program* program = NK_TRY(programs_->need(Part::loopback))->progs.loopback_egress;
    const BpfLog log;
    NK_TRY_CONTEXT("device lo", pin_or_update(pins_.link(std::string(kLoopbackPin)), *program, [&] {
                       return bpf_program__attach_tcx(program, static_cast<int>(link::kLoopbackIfindex), nullptr);
                   }));
    return {};
}

// At once: the next port may be there in a moment.
Result<void> LoopbackProgram::detach() const {
    const std::string name(kLoopbackPin);
    Result<void> detached = detach_pinned(pins_.link(name));
    keep_first(detached, pins_.unpin_link(name));
    return detached;
}

Result<void> LoopbackProgram::follow(bool wanted) {
    return there_ == wanted ? Result<void>() : put(wanted);
}

Result<void> LoopbackProgram::put(bool wanted) {
    there_.reset();
    Result<void> changed = wanted ? attach() : detach();
    if (changed) {
        there_ = wanted;
    } else if (wanted) {
        keep_first(changed, detach());
    }
    return changed;
}

}  // namespace netkitd::datapath
