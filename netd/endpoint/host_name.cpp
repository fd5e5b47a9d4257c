#include "endpoint/host_name.h"

#include "base/format.h"

namespace netkitd {
namespace {

constexpr std::string_view kPrefix = "nk";

// FNV-1a, 32 bits (RFC 9923): spreads ids well, and any id gives the same name on every node.
std::uint32_t fnv1a(std::uint32_t hash, std::string_view bytes) {
    for (const char c : bytes) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
    }
    return hash;
}

}  // namespace

std::string host_device_name(std::string_view container_id, std::uint32_t attempt) {
    std::uint32_t hash = fnv1a(2166136261U, container_id);
    if (attempt > 0) {
        hash = fnv1a(hash, formatted("#{}", attempt));
    }
    return formatted("{}{:08x}", kPrefix, hash);
}

}  // namespace netkitd
