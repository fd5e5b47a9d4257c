// What outlives the daemon: counters' numbers and the layouts of the maps that are pinned. A later version finds them
// in the kernel, so what was released stays as it is in tests/unit/abi/.
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>

#include "base/format.h"
#include "datapath/pinned_maps.h"
#include "netkitd.skel.h"

namespace netkitd::datapath {
namespace {

using testing::Contains;

std::set<std::string> lines_of(const char* file) {
    std::ifstream input(std::string(ABI_DIR) + "/" + file);
    std::set<std::string> lines;
    for (std::string line; std::getline(input, line);) {
        lines.insert(line);
    }
    return lines;
}

struct Closer {
    void operator()(netkitd_bpf* skeleton) const { netkitd_bpf__destroy(skeleton); }
};

// "{daddr 4 4 __be32; …}": each field with its place, its size and its type's name, those of structures within as well.
std::string layout_of(const btf& types, std::uint32_t id) {
    const std::int32_t resolved = btf__resolve_type(&types, id);
    const btf_type* const type = btf__type_by_id(&types, static_cast<std::uint32_t>(resolved));
    if (!btf_is_composite(type)) {
        const btf_type* const named = btf__type_by_id(&types, id);
        if (btf_is_array(type)) {
            const auto* const array = btf_array(type);
            return formatted("{} of {}", array->nelems, layout_of(types, array->type));
        }
        return btf__name_by_offset(&types, named->name_off);
    }
    std::string text = "{";
    for (std::uint32_t i = 0; i < btf_vlen(type); ++i) {
        const btf_member& member = btf_members(type)[i];
        text +=
            formatted("{} {} {} {}; ", btf__name_by_offset(&types, member.name_off), btf_member_bit_offset(type, i) / 8,
                      btf__resolve_size(&types, member.type), layout_of(types, member.type));
    }
    return text + "}";
}

// One line: name, version, type, sizes, and what key and value look like.
std::string line_of(const btf& types, const bpf_map& map, std::uint32_t version) {
    const bool is_array = bpf_map__type(&map) == BPF_MAP_TYPE_PERCPU_ARRAY || bpf_map__type(&map) == BPF_MAP_TYPE_ARRAY;
    return formatted("{} {}: {}{} {} -> {} {}", bpf_map__name(&map), version,
                     libbpf_bpf_map_type_str(bpf_map__type(&map)),
                     is_array ? formatted(" of {}", bpf_map__max_entries(&map)) : "", bpf_map__key_size(&map),
                     bpf_map__value_size(&map), layout_of(types, bpf_map__btf_value_type_id(&map))) +
           " by " + layout_of(types, bpf_map__btf_key_type_id(&map));
}

TEST(Abi, ACountersNumberIsForEver) {
    const auto released = lines_of("counters");
#define EXPECT_RELEASED(symbol, name, text) \
    EXPECT_THAT(released, Contains(formatted("{} {}", static_cast<int>(symbol), name)));
    NK_DROP_REASONS(EXPECT_RELEASED)
    NK_EVENTS(EXPECT_RELEASED)
#undef EXPECT_RELEASED
    EXPECT_EQ(released.size(), NK_DROP_COUNT + (NK_COUNTER_END - NK_EVENT_FIRST));
}

TEST(Abi, ALayoutThatChangesHasAnotherVersion) {
    const std::unique_ptr<netkitd_bpf, Closer> skeleton(netkitd_bpf__open());
    ASSERT_TRUE(skeleton);
    const auto released = lines_of("layouts");
    std::set<std::string> pinned;
    const bpf_map* map = nullptr;
    while ((map = bpf_object__next_map(skeleton->obj, map)) != nullptr) {
        if (const auto version = layout_version(bpf_map__name(map))) {
            pinned.insert(bpf_map__name(map));
            EXPECT_THAT(released, Contains(line_of(*bpf_object__btf(skeleton->obj), *map, *version)))
                << "raise its version in bpf/abi.h (NK_PINNED_MAPS), see to what is in the former one "
                   "(netd/datapath/upgrade.cpp), and add the line";
        }
    }
    EXPECT_EQ(pinned.size(), kPinnedMaps.size()) << "one of NK_PINNED_MAPS is not there";
}

TEST(Abi, APinSaysTheVersion) {
    EXPECT_EQ(pin_name("flows4", 1), "flows4");
    EXPECT_EQ(pin_name("flows4_new", 12), "flows4_new-12");
    EXPECT_EQ(parse_pin_name("flows4"), (PinName{.map = "flows4", .version = 1}));
    EXPECT_EQ(parse_pin_name("flows4_new-12"), (PinName{.map = "flows4_new", .version = 12}));
    for (const char* const strange : {"flows4-", "flows4-1", "flows4-0", "flows4-x", "-2", "flows4-2-3"}) {
        EXPECT_FALSE(parse_pin_name(strange)) << strange;
    }
}

TEST(Abi, AnOlderMapIsOneOfAnotherLayoutOrOneThatIsNoMore) {
    EXPECT_TRUE(is_older({.map = "flows4", .version = 1}));
    EXPECT_TRUE(is_older({.map = "flows4_new", .version = 1}));
    for (const PinName& other :
         {PinName{.map = "flows4", .version = *layout_version("flows4")}, PinName{.map = "flows4", .version = 99},
          PinName{.map = "flows4_new", .version = 2}, PinName{.map = "never", .version = 1}}) {
        EXPECT_FALSE(is_older(other)) << other.map << " " << other.version;
    }
}

}  // namespace
}  // namespace netkitd::datapath
