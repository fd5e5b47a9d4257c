// What a call of the hook means.
//
// One hooks.d file registers both stages with the same arguments, so the state itself must tell them apart. A bundle's
// own config.json can name the stage as an argument.
//
//   argument       pid          status       what is done
//   none           any          stopped      detach (a stopped container is never attached, whatever its pid says)
//   none           > 0          other        attach
//   none           0, missing   other        error: there is no process whose netns could be attached
//   createRuntime  > 0          any          attach
//   createRuntime  0, missing   any          error
//   poststop       any          any          detach
//
// To attach, the container must have opted in by io.netkitd.network. Without that annotation the call is an error, not
// a silent success: hooks.d only matches containers that have it, so the hook was put somewhere by hand, for a
// container that would then start with no network and no word about it.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "oci/oci_state.h"

namespace netkitd::hook {

enum class Stage : std::uint8_t { from_state, create_runtime, poststop };
enum class Action : std::uint8_t { attach, detach };

// "createRuntime", "poststop".
[[nodiscard]] Result<Stage> parse_stage(std::string_view name);
[[nodiscard]] Result<Action> decide(Stage stage, const OciState& state);

}  // namespace netkitd::hook
