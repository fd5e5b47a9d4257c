#include "config/unusable_prefixes.h"

#include "base/format.h"

namespace netkitd {

std::string why_unusable(const IpPrefix& prefix) {
    for (const auto& [unusable, name] : kUnusablePrefixes) {
        const auto whole = IpPrefix::parse(unusable);
        if (whole && whole->holds(prefix)) {
            return formatted("{}, {}", unusable, name);
        }
    }
    return "";
}

}  // namespace netkitd
