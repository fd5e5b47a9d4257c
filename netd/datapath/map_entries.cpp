#include "datapath/map_entries.h"

#include <algorithm>
#include <cerrno>
#include <vector>

namespace netkitd::datapath {
namespace {

// More than any bucket of a hash map holds, each of which is read as a whole.
constexpr std::uint32_t kBatch = 4096;

}  // namespace

Result<void> for_each_entry(int map, const bpf_map_info& info, const EntryVisitor& visit) {
    std::vector<std::byte> keys(std::size_t{kBatch} * info.key_size);
    std::vector<std::byte> values(std::size_t{kBatch} * info.value_size);
    // A bucket's number, or a key (generic_map_lookup_batch() in kernel/bpf/syscall.c).
    std::vector<std::byte> position(std::max<std::size_t>(info.key_size, sizeof(std::uint32_t)));
    bool begun = false;
    for (;;) {
        std::uint32_t count = kBatch;
        const int status = bpf_map_lookup_batch(map, begun ? position.data() : nullptr, position.data(), keys.data(),
                                                values.data(), &count, nullptr);
        if (status != 0 && status != -ENOENT) {
            return fail_errno(-status, "read the entries of map {}", info.name);
        }
        for (std::size_t i = 0; i < count; ++i) {
            NK_TRY(visit(std::span(keys).subspan(i * info.key_size, info.key_size),
                         std::span(values).subspan(i * info.value_size, info.value_size)));
        }
        if (status == -ENOENT) {
            return {};
        }
        begun = true;
    }
}

}  // namespace netkitd::datapath
