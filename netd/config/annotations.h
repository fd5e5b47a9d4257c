// The io.netkitd.* annotations of a container: what its owner asks for. Untrusted; parsed strictly, and every error
// names the annotation and what is wrong with it. An unknown io.netkitd.* annotation is an error: a typo must not pass.
// Annotations under other prefixes belong to other people and are left alone.
#pragma once

#include <map>
#include <string>

#include "base/result.h"
#include "config/attach_options.h"

namespace netkitd {

[[nodiscard]] Result<AttachOptions> parse_annotations(const std::map<std::string, std::string>& annotations);

}  // namespace netkitd
