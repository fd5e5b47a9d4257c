#include "oci/action.h"

#include <algorithm>

#include "base/annotation_prefix.h"
#include "base/format.h"
#include "base/quote.h"

namespace netkitd::hook {
namespace {

constexpr const char* kOptIn = "io.netkitd.network";

}  // namespace

Result<Stage> parse_stage(std::string_view name) {
    if (name == "createRuntime") {
        return Stage::create_runtime;
    }
    if (name == "poststop") {
        return Stage::poststop;
    }
    return fail(ErrorKind::invalid, "{} is not a stage of netkit-hook: createRuntime and poststop are", quote(name));
}

Result<Action> decide(Stage stage, const OciState& state) {
    if (stage == Stage::poststop || (stage == Stage::from_state && state.status == "stopped")) {
        return Action::detach;
    }
    if (state.pid == 0) {
        return fail(
            ErrorKind::invalid,
            "the OCI state (status {}) names no process, so there is no network namespace to attach: netkit-hook "
            "belongs to the stages createRuntime and poststop",
            quote(state.status));
    }
    if (!state.annotations.contains(kOptIn)) {
        const auto other = std::ranges::find_if(
            state.annotations, [](const auto& entry) { return entry.first.starts_with(kAnnotationPrefix); });
        return fail(
            ErrorKind::invalid,
            "the container has {}no annotation {}: give it one (`--annotation {}=default`), or take netkit-hook out "
            "of its hooks",
            other == state.annotations.end() ? "" : formatted("{}, but ", quote(other->first)), kOptIn, kOptIn);
    }
    return Action::attach;
}

}  // namespace netkitd::hook
