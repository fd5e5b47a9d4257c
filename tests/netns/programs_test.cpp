// Programs are loaded when a device first needs them, and work on the same maps as those that were loaded before.
#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/parse_number.h"
#include "datapath/datapath.h"
#include "harness/host_test.h"

namespace netkitd::test {
namespace {

using testing::SizeIs;
using testing::UnorderedElementsAreArray;
using MapIds = std::vector<std::uint32_t>;

constexpr std::uint32_t kMaxMaps = 64;

// A descriptor's program, if it is one, and its maps.
std::optional<std::pair<std::string, MapIds>> program_at(int fd) {
    bpf_prog_info info{};
    MapIds maps(kMaxMaps);
    info.nr_map_ids = kMaxMaps;
    info.map_ids = reinterpret_cast<std::uintptr_t>(maps.data());
    std::uint32_t size = sizeof(info);
    if (bpf_prog_get_info_by_fd(fd, &info, &size) != 0) {
        return std::nullopt;
    }
    maps.resize(info.nr_map_ids);
    return std::pair(std::string(info.name), std::move(maps));
}

bool is_program(const std::filesystem::path& descriptor) {
    std::error_code gone;
    return std::filesystem::read_symlink(descriptor, gone).string().contains("bpf-prog");
}

// What this process has loaded: the programs' names, as the kernel cuts them.
std::map<std::string, MapIds> loaded_programs() {
    std::map<std::string, MapIds> result;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        const std::string digits = entry.path().filename();
        const auto fd = parse_number<unsigned>(digits);
        if (fd && is_program(entry.path())) {
            if (auto program = program_at(static_cast<int>(*fd))) {
                result.insert(std::move(*program));
            }
        }
    }
    return result;
}

std::vector<std::string> loaded() {
    std::vector<std::string> names;
    for (const auto& [name, maps] : loaded_programs()) {
        names.push_back(name);
    }
    return names;
}

std::string name_of_map(std::uint32_t id) {
    const UniqueFd map(bpf_map_get_fd_by_id(id));
    bpf_map_info info{};
    std::uint32_t size = sizeof(info);
    return bpf_map_get_info_by_fd(map.get(), &info, &size) == 0 ? info.name : "";
}

class ProgramsTest : public HostTest {
protected:
    [[nodiscard]] datapath::Datapath open(std::optional<link::DeviceMode> expected = std::nullopt) const {
        return datapath::Datapath::open(bpffs(), expected).value();
    }
    // And those that the daemon runs itself.
    static std::vector<std::string> with_own(std::vector<std::string> programs) {
        programs.insert(programs.end(), {"host_egress", "map_counts", "owner_sockets", "remove_flows", "insert_flows"});
        return programs;
    }
    // Any device will do.
    [[nodiscard]] static Result<std::chrono::microseconds> attach_container(datapath::Datapath& datapath) {
        return datapath.attach_endpoint("up0", if_nametoindex("up0"), link::DeviceMode::veth);
    }
};

TEST_F(ProgramsTest, AreLoadedWhenADeviceFirstNeedsThem) {
    datapath::Datapath datapath = open();
    EXPECT_THAT(loaded(), UnorderedElementsAreArray(with_own({})));
    const std::uint32_t uplink = if_nametoindex("up0");
    ASSERT_TRUE(datapath.attach_uplink("up0", uplink, datapath::UplinkKind::ethernet));
    EXPECT_THAT(loaded(), UnorderedElementsAreArray(with_own({"uplink_ingress", "uplink_egress"})));
    EXPECT_TRUE(datapath.look_at_uplink("up0", uplink, datapath::UplinkKind::ethernet)->complete);
    ASSERT_TRUE(attach_container(datapath));
    EXPECT_THAT(loaded(), UnorderedElementsAreArray(with_own({"veth_ingress", "uplink_ingress", "uplink_egress"})));
    ASSERT_TRUE(attach_container(datapath));
    EXPECT_THAT(loaded(), SizeIs(with_own({}).size() + 3)) << "once";
}

TEST_F(ProgramsTest, OfWhatIsExpectedAreLoadedAtOnce) {
    datapath::Datapath datapath = open(link::DeviceMode::veth);
    EXPECT_THAT(loaded(), UnorderedElementsAreArray(with_own({"veth_ingress", "uplink_ingress", "uplink_egress"})));
    ASSERT_TRUE(datapath.attach_uplink("up0", if_nametoindex("up0"), datapath::UplinkKind::ethernet));
    ASSERT_TRUE(attach_container(datapath));
    EXPECT_THAT(loaded(), SizeIs(with_own({}).size() + 3)) << "once";
}

TEST_F(ProgramsTest, ShareTheirMapsHoweverTheyWereLoaded) {
    datapath::Datapath datapath = open(link::DeviceMode::netkit);
    ASSERT_TRUE(attach_container(datapath));
    for (const auto kind : {datapath::UplinkKind::ethernet, datapath::UplinkKind::l3}) {
        ASSERT_TRUE(datapath.attach_uplink("up0", if_nametoindex("up0"), kind));
    }
    std::map<std::string, std::set<std::uint32_t>> ids;
    for (const auto& [program, maps] : loaded_programs()) {
        for (const std::uint32_t id : maps) {
            ids[name_of_map(id)].insert(id);
        }
    }
    EXPECT_THAT(loaded(), SizeIs(with_own({}).size() + 6));
    EXPECT_THAT(ids, testing::Contains(testing::Key("flows4")));
    for (const auto& [name, of_that_name] : ids) {
        EXPECT_THAT(of_that_name, SizeIs(1)) << name;
    }
}

}  // namespace
}  // namespace netkitd::test
