// One pinned BPF link: attach a program and pin it, or give a link that is pinned already a new program.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"

struct bpf_link;
struct bpf_program;

namespace netkitd::datapath {

// Makes the link; null with errno set on failure, as libbpf does.
using Attach = std::function<bpf_link*()>;

// After this the link lives in the pin alone. A pinned link whose device is gone (ENOLINK at the update) is unpinned
// and made again. Returns the time that making the link took: an RCU grace period, mostly.
[[nodiscard]] Result<std::chrono::microseconds> pin_or_update(const std::string& path, bpf_program& program,
                                                              const Attach& attach);

// Takes the program of a pinned link off at once, where one whose pin is only removed has it for a moment more; the pin
// stays. That there is none is no error.
[[nodiscard]] Result<void> detach_pinned(const std::string& path);

// The id of the program that a pinned link has.
[[nodiscard]] Result<std::uint32_t> program_of_link(const std::string& path);

}  // namespace netkitd::datapath
