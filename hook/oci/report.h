// Where a hook's failure goes: stderr (runc and CRI-O show it) and the journal (crun throws stderr away).
#pragma once

#include <string_view>

namespace netkitd::hook {

void report_failure(std::string_view message);
// What a container that did start should know, in the journal.
void report_note(std::string_view message);

}  // namespace netkitd::hook
