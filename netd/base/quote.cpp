#include "base/quote.h"

#include "base/format.h"

namespace netkitd {

std::string quote(std::string_view text) {
    std::string result = "'";
    for (const char c : text.substr(0, kMaxQuotedBytes)) {
        if (c >= ' ' && c <= '~' && c != '\\') {
            result += c;
        } else {
            result += formatted("\\x{:02x}", static_cast<unsigned char>(c));
        }
    }
    result += text.size() > kMaxQuotedBytes ? "…'" : "'";
    return result;
}

}  // namespace netkitd
