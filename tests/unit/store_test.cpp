#include "store/store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "harness/small_file_system.h"

namespace netkitd {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kBoot = "0f0f0f0f-1111-2222-3333-444444444444";
constexpr const char* kNextBoot = "f0f0f0f0-1111-2222-3333-444444444444";

EndpointRecord endpoint(std::uint32_t id) {
    return {.id = id,
            .netns_cookie = 0xffff'ffff'ffff'fff0ULL + id,
            .network = "default",
            .interface_name = "eth0",
            .ipv4 = IpAddr::v4_host_order(0x0a4d0000 + id),
            .ipv6 = std::nullopt,
            .mtu = 1500,
            .device_mode = link::DeviceMode::netkit,
            .host_name = formatted("nk{:08x}", id),
            .host_ifindex = 100 + id,
            .host_mac = {},
            .peer_mac = {},
            .published = {{.address = std::nullopt, .port = 8080, .container_port = 80, .protocol = IPPROTO_TCP}},
            .created = std::chrono::system_clock::time_point(std::chrono::nanoseconds(1'750'000'000'123'456'789)),
            .members = {{.container_id = formatted("container-{}", id), .pid = 4242, .pid_start_time = 77}}};
}

// A directory of its own for each test.
class StoreTest : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = testing::TempDir() + "store_test_XXXXXX";
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        directory_ = pattern;
    }
    void TearDown() override { fs::remove_all(directory_); }

    [[nodiscard]] std::string path() const { return (directory_ / "state.db").native(); }
    [[nodiscard]] Result<Store> open(const char* boot = kBoot) const { return Store::open(path(), boot); }
    // As a person would with sqlite3(1).
    void sql(const char* text) const {
        sqlite3* database = nullptr;
        ASSERT_EQ(sqlite3_open(path().c_str(), &database), SQLITE_OK);
        EXPECT_EQ(sqlite3_exec(database, text, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(database);
        sqlite3_close(database);
    }
    // The first column of the first row.
    [[nodiscard]] std::string answer(const char* text) const {
        sqlite3* database = nullptr;
        EXPECT_EQ(sqlite3_open(path().c_str(), &database), SQLITE_OK);
        std::string result;
        const auto take = [](void* to, int, char** columns, char**) {
            *static_cast<std::string*>(to) = *columns;
            return 0;
        };
        EXPECT_EQ(sqlite3_exec(database, text, take, &result, nullptr), SQLITE_OK) << sqlite3_errmsg(database);
        sqlite3_close(database);
        return result;
    }

    fs::path directory_;
};

TEST_F(StoreTest, KeepsEverythingAboutAnEndpoint) {
    EndpointRecord full = endpoint(7);
    full.ipv6 = *IpAddr::parse("fd77::7");
    full.device_mode = link::DeviceMode::veth;
    full.home = 255;
    full.host_mac.bytes = {0x02, 0, 0, 0, 0, 0x01};
    full.peer_mac.bytes = {0x02, 0, 0, 0, 0, 0xff};
    full.members = {{.container_id = "zzz-pause", .pid = 100, .pid_start_time = 0xffff'ffff'ffff'ffffULL},
                    {.container_id = "by-hand", .pid = std::nullopt, .pid_start_time = 0}};
    EndpointRecord bare = endpoint(3);
    bare.ipv4.reset();
    bare.members.clear();
    {
        auto store = open();
        ASSERT_TRUE(store) << store.error().message();
        ASSERT_TRUE(store->put_endpoint(full));
        ASSERT_TRUE(store->put_endpoint(bare));
        EXPECT_THAT(store->endpoints().value(), ElementsAre(bare, full));
    }
    EXPECT_THAT(open()->endpoints().value(), ElementsAre(bare, full));
}

TEST_F(StoreTest, ReplacesAndRemovesAnEndpointWithItsMembers) {
    auto store = open();
    ASSERT_TRUE(store);
    EndpointRecord record = endpoint(1);
    ASSERT_TRUE(store->put_endpoint(record));
    record.members.push_back({.container_id = "second", .pid = 5, .pid_start_time = 6});
    record.mtu = 9000;
    ASSERT_TRUE(store->put_endpoint(record));
    EXPECT_THAT(store->endpoints().value(), ElementsAre(record));
    ASSERT_TRUE(store->remove_endpoint(1, {}));
    ASSERT_TRUE(store->remove_endpoint(1, {}));
    EXPECT_TRUE(store->endpoints()->empty());
    record.members.clear();
    ASSERT_TRUE(store->put_endpoint(record));
    EXPECT_TRUE(store->endpoints()->front().members.empty());
}

TEST_F(StoreTest, EndpointNumbersAreNeverUsedAgain) {
    {
        auto store = open();
        ASSERT_TRUE(store);
        EXPECT_EQ(store->next_endpoint_id(), 1U);
        EXPECT_EQ(store->next_endpoint_id(), 1U);
        ASSERT_TRUE(store->put_endpoint(endpoint(1)));
        ASSERT_TRUE(store->put_endpoint(endpoint(2)));
        ASSERT_TRUE(store->put_endpoint(endpoint(1)));
        ASSERT_TRUE(store->remove_endpoint(2, {}));
        EXPECT_EQ(store->next_endpoint_id(), 3U);
    }
    EXPECT_EQ(open()->next_endpoint_id(), 3U);
    auto store = open(kNextBoot);
    EXPECT_EQ(store->next_endpoint_id(), 3U);
    ASSERT_TRUE(store->put_endpoint(endpoint(0xffff'ffffU)));
    const auto none = store->next_endpoint_id();
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().kind(), ErrorKind::exhausted);
}

TEST_F(StoreTest, ARebootDiscardsWhatTheKernelForgot) {
    ASSERT_TRUE(open()->put_endpoint(endpoint(1)));
    ASSERT_TRUE(open()->record_host_change({.what = "sysctl a", .before = "0", .after = "1"}));
    auto store = open(kNextBoot);
    ASSERT_TRUE(store);
    EXPECT_TRUE(store->endpoints()->empty());
    EXPECT_TRUE(store->host_changes()->empty());
}

TEST_F(StoreTest, HostChangesRememberTheValueFromBeforeTheFirstChange) {
    {
        auto store = open();
        ASSERT_TRUE(store);
        ASSERT_TRUE(store->record_host_change({.what = "sysctl z", .before = "", .after = "49152-65535"}));
        ASSERT_TRUE(store->record_host_change({.what = "sysctl a", .before = "0", .after = "1"}));
        ASSERT_TRUE(store->record_host_change({.what = "sysctl z", .before = "49152-65535", .after = "50000-65535"}));
    }
    auto store = open();
    EXPECT_THAT(store->host_changes().value(),
                ElementsAre(HostChange{.what = "sysctl z", .before = "", .after = "50000-65535"},
                            HostChange{.what = "sysctl a", .before = "0", .after = "1"}));
    ASSERT_TRUE(store->forget_host_change("sysctl z"));
    EXPECT_EQ(store->host_changes()->size(), 1U);
}

TEST_F(StoreTest, FreedAddressesAreKeptInTheOrderOfTheirRelease) {
    const auto address = [](const char* text) { return IpAddr::parse(text).value(); };
    const std::array first{address("10.77.0.7"), address("fd77::7")};
    const std::array second{address("10.77.0.5")};
    {
        auto store = open();
        ASSERT_TRUE(store->put_endpoint(endpoint(7)));
        ASSERT_TRUE(store->put_endpoint(endpoint(5)));
        ASSERT_TRUE(store->remove_endpoint(7, first));
        ASSERT_TRUE(store->remove_endpoint(5, second));
        ASSERT_TRUE(store->remove_endpoint(5, second));  // what a retry does
    }
    auto store = open();
    EXPECT_THAT(store->freed_addresses().value(), ElementsAre(first[0], first[1], second[0]));
    ASSERT_TRUE(store->put_endpoint(endpoint(7)));  // which has 10.77.0.7
    EXPECT_THAT(store->freed_addresses().value(), ElementsAre(first[1], second[0]));
    store = fail(ErrorKind::unavailable, "closed");
    store = open(kNextBoot);
    EXPECT_TRUE(store->freed_addresses()->empty());
}

TEST_F(StoreTest, NetworksAreKeptUntilTheyAreForgotten) {
    const NetworkRecord v4{.prefix = IpPrefix::parse("10.77.0.0/16").value(),
                           .gateway = IpAddr::parse("10.77.0.1").value()};
    const NetworkRecord v6{.prefix = IpPrefix::parse("fd77::/64").value(), .gateway = IpAddr::parse("fd77::1").value()};
    {
        auto store = open();
        ASSERT_TRUE(store->record_network(v4));
        ASSERT_TRUE(store->record_network(v6));
        ASSERT_TRUE(store->record_network(v4));
    }
    auto store = open();
    EXPECT_THAT(store->networks().value(), ElementsAre(v4, v6));
    ASSERT_TRUE(store->forget_network(v4.prefix));
    EXPECT_THAT(store->networks().value(), ElementsAre(v6));
    store = fail(ErrorKind::unavailable, "closed");
    store = open(kNextBoot);
    EXPECT_TRUE(store->networks()->empty());
}

TEST_F(StoreTest, TextIsData) {
    EndpointRecord record = endpoint(1);
    record.members.front().container_id = "'); DROP TABLE endpoints; --";
    record.network = std::string("a\0b", 3);
    auto store = open();
    ASSERT_TRUE(store->put_endpoint(record));
    EXPECT_THAT(store->endpoints().value(), ElementsAre(record));
}

TEST_F(StoreTest, MakesItsDirectoryForRootOnly) {
    const fs::path deep = directory_ / "a" / "b";
    ASSERT_TRUE(Store::open((deep / "state.db").native(), kBoot));
    EXPECT_EQ(fs::status(deep).permissions(), fs::perms::owner_all);
}

TEST_F(StoreTest, TwoDaemonsOnOneFileAreRefused) {
    const auto first = open();
    ASSERT_TRUE(first);
    const auto second = open();
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().kind(), ErrorKind::refused);
    EXPECT_THAT(second.error().message(), AllOf(HasSubstr(path()), HasSubstr("another netkitd")));
}

// Runs `work` in a process of its own; what it returns is its exit status.
template <typename Work>
pid_t in_child(Work work) {
    const pid_t child = fork();
    if (child == 0) {
        _exit(work());
    }
    return child;
}

int wait_for(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

TEST_F(StoreTest, AnotherProcessIsRefusedTooAndNotOnceTheFirstIsGone) {
    const auto can_open = [&] { return wait_for(in_child([&] { return open() ? 0 : 1; })) == 0; };
    {
        const auto first = open();
        ASSERT_TRUE(first);
        EXPECT_FALSE(can_open());
    }
    EXPECT_TRUE(can_open());
}

TEST_F(StoreTest, WhatWasAcknowledgedSurvivesKill9) {
    for (int round = 0; round < 5; ++round) {
        std::array<int, 2> pipe_ends{};
        ASSERT_EQ(pipe(pipe_ends.data()), 0);
        const pid_t child = in_child([&] {
            auto store = open();
            for (;;) {
                const auto id = store->next_endpoint_id();
                if (!id || !store->put_endpoint(endpoint(*id)) ||
                    write(pipe_ends[1], &*id, sizeof(*id)) != sizeof(*id)) {
                    return 1;
                }
            }
        });
        close(pipe_ends[1]);
        std::uint32_t acknowledged = 0;
        for (int i = 0; i < 20; ++i) {
            ASSERT_EQ(read(pipe_ends[0], &acknowledged, sizeof(acknowledged)), sizeof(acknowledged));
        }
        kill(child, SIGKILL);
        wait_for(child);
        while (read(pipe_ends[0], &acknowledged, sizeof(acknowledged)) == sizeof(acknowledged)) {
        }
        close(pipe_ends[0]);

        auto store = open();
        ASSERT_TRUE(store) << store.error().message();
        const auto records = store->endpoints();
        ASSERT_TRUE(records) << records.error().message();
        ASSERT_GE(records->size(), acknowledged);
        EXPECT_LE(records->size(), acknowledged + 1);  // one may be committed and not yet acknowledged
        EXPECT_EQ(records->back(), endpoint(static_cast<std::uint32_t>(records->size())));
    }
}

TEST_F(StoreTest, TheLogDoesNotGrowForEver) {
    auto store = open();
    ASSERT_TRUE(store);
    for (int i = 0; i < 3000; ++i) {
        ASSERT_TRUE(store->put_endpoint(endpoint(1)));
        ASSERT_TRUE(store->remove_endpoint(1, {}));
    }
    EXPECT_LT(fs::file_size(path() + "-wal"), 8UL * 1024 * 1024);
}

// The refusal of a file that must still be there, byte for byte, afterwards.
std::string refusal_of_untouched(const std::string& path) {
    const auto content = [&] {
        std::ifstream file(path, std::ios::binary);
        return (std::ostringstream() << file.rdbuf()).str();
    };
    const std::string before = content();
    const auto store = Store::open(path, kBoot);
    EXPECT_TRUE(content() == before);  // not EXPECT_EQ: it would print pages of NULs
    return store ? "" : store.error().message();
}

TEST_F(StoreTest, AFileThatIsNoDatabaseIsNamedAndLeftAlone) {
    std::ofstream(path()) << std::string(10'000, 'x');
    EXPECT_THAT(refusal_of_untouched(path()),
                AllOf(HasSubstr(path()), HasSubstr("nothing was deleted"), HasSubstr("mv '" + path() + "'")));
}

TEST_F(StoreTest, ADamagedDatabaseIsNamedAndLeftAlone) {
    {
        auto store = open();
        for (std::uint32_t id = 1; id < 200; ++id) {
            ASSERT_TRUE(store->put_endpoint(endpoint(id)));
        }
    }
    std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(3 * 4096);  // past the schema
    file << std::string(8 * 4096, '\x5a');
    file.close();
    EXPECT_THAT(refusal_of_untouched(path()), AllOf(HasSubstr(path()), HasSubstr("nothing was deleted")));
}

TEST_F(StoreTest, AnotherProgramsDatabaseIsLeftAlone) {
    sql("CREATE TABLE contacts (name TEXT)");
    EXPECT_THAT(refusal_of_untouched(path()), HasSubstr("a database of another program"));
}

TEST_F(StoreTest, ANewerVersionsIsRefusedByName) {
    ASSERT_TRUE(open());
    sql("PRAGMA user_version = 99; UPDATE node SET written_by = '9.1'");
    EXPECT_THAT(refusal_of_untouched(path()), AllOf(HasSubstr("netkitd '9.1' wrote it (its schema is version 99"),
                                                    HasSubstr("install that one again")));
}

TEST_F(StoreTest, APurgeReadsANewerVersionsAllTheSame) {
    ASSERT_TRUE(open()->put_endpoint(endpoint(1)));
    sql("PRAGMA user_version = 99; ALTER TABLE endpoints ADD COLUMN new TEXT; CREATE TABLE more (what TEXT)");
    auto store = Store::open(path(), kBoot, Store::Versions::any);
    ASSERT_TRUE(store) << store.error().message();
    EXPECT_THAT(*store->endpoints(), ElementsAre(endpoint(1)));
}

// What a daemon that is refused (for want of memory, by its configuration) leaves to the version before.
TEST_F(StoreTest, WhatIsOnlyLookedAtStaysThatOfTheVersionBefore) {
    std::ostringstream text;
    text << std::ifstream(SCHEMAS_DIR "/1.sql").rdbuf();
    sql(text.str().c_str());
    {
        auto store = Store::look_at(path(), kBoot);
        ASSERT_TRUE(store) << store.error().message();
        EXPECT_EQ(store->endpoints()->size(), 1U);
    }
    EXPECT_EQ(answer("PRAGMA user_version"), "1");
    EXPECT_EQ(answer("SELECT count(*) FROM sqlite_schema WHERE name = 'freed_addresses'"), "0");
    {
        auto store = Store::look_at(path(), kBoot);
        ASSERT_TRUE(store);
        ASSERT_TRUE(store->keep());
        ASSERT_TRUE(store->keep()) << "a second time is nothing";
        ASSERT_TRUE(store->put_endpoint(endpoint(8)));
    }
    EXPECT_EQ(open()->endpoints()->size(), 2U);
}

TEST_F(StoreTest, ANewerVersionsThatLacksATableSaysSoByItsKind) {
    ASSERT_TRUE(open());
    sql("PRAGMA user_version = 99; ALTER TABLE endpoints RENAME TO interfaces");
    auto store = Store::open(path(), kBoot, Store::Versions::any);
    ASSERT_FALSE(store && store->endpoints());
    EXPECT_EQ((store ? store->endpoints().error() : store.error()).kind(), ErrorKind::not_found);
}

// Each that ever was, with what it can hold.
TEST_F(StoreTest, EverySchemaIsBroughtToThisOne) {
    std::set<std::string> schemas;
    for (const auto& file : fs::directory_iterator(SCHEMAS_DIR)) {
        SCOPED_TRACE(file.path().native());
        schemas.insert(file.path().stem());
        fs::remove(path());
        std::ostringstream text;
        text << std::ifstream(file.path()).rdbuf();
        sql(text.str().c_str());
        auto store = open();
        ASSERT_TRUE(store) << store.error().message();
        const auto endpoints = *store->endpoints();
        ASSERT_EQ(endpoints.size(), 1U);
        EXPECT_EQ(endpoints[0].address_text(), "10.77.0.2, fd6e:6b64::2");
        EXPECT_EQ(endpoints[0].home, 7U);
        ASSERT_EQ(endpoints[0].members.size(), 1U);
        EXPECT_EQ(endpoints[0].members[0].container_id, "web");
        EXPECT_EQ(*store->next_endpoint_id(), 8U);
        EXPECT_EQ(store->host_changes()->size(), 1U);
        EXPECT_EQ(store->networks()->size(), file.path().stem() == "1" ? 0U : 1U);
        ASSERT_TRUE(store->put_endpoint(endpoint(8)));
    }
    ASSERT_TRUE(open());
    EXPECT_THAT(schemas, testing::Contains(answer("PRAGMA user_version"))) << "this version's is to be there too";
}

TEST_F(StoreTest, AStepThatFailsChangesNothing) {
    std::ostringstream text;
    text << std::ifstream(SCHEMAS_DIR "/1.sql").rdbuf();
    sql(text.str().c_str());
    sql("CREATE TABLE networks (somebody TEXT)");
    ASSERT_FALSE(open());
    EXPECT_EQ(answer("PRAGMA user_version"), "1");
    EXPECT_EQ(answer("SELECT count(*) FROM sqlite_schema WHERE name = 'freed_addresses'"), "0");
}

TEST_F(StoreTest, APathThatCannotBeIsNamed) {
    EXPECT_THAT(Store::open(directory_.native(), kBoot).error().message(), HasSubstr("cannot be opened or created"));
    std::ofstream(directory_ / "file") << "x";
    EXPECT_THAT(Store::open((directory_ / "file" / "state.db").native(), kBoot).error().message(),
                AllOf(HasSubstr("create directory"), HasSubstr("Not a directory")));
}

TEST_F(StoreTest, AFullDiskLosesNothingAndIsOverWhenThereIsSpaceAgain) {
    const test::SmallFileSystem small(directory_);
    if (!small.mounted()) {
        GTEST_SKIP() << "mounting a tmpfs needs root";
    }
    auto store = open();
    ASSERT_TRUE(store) << store.error().message();
    ASSERT_TRUE(store->put_endpoint(endpoint(1)));
    small.fill();

    std::uint32_t id = 2;
    auto result = store->put_endpoint(endpoint(id));
    while (result && id < 1000) {
        result = store->put_endpoint(endpoint(++id));
    }
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind(), ErrorKind::exhausted);
    EXPECT_THAT(result.error().message(), AllOf(HasSubstr(path()), HasSubstr("the file system is full")));
    EXPECT_EQ(store->endpoints()->size(), id - 1);

    small.make_room();
    EXPECT_TRUE(store->put_endpoint(endpoint(id)));
    EXPECT_EQ(store->endpoints()->size(), id);
}

TEST_F(StoreTest, AReadOnlyFileSystemIsNamed) {
    const test::SmallFileSystem small(directory_);
    if (!small.mounted()) {
        GTEST_SKIP() << "mounting a tmpfs needs root";
    }
    ASSERT_TRUE(open());
    ASSERT_TRUE(small.make_read_only());
    const auto store = open();
    ASSERT_FALSE(store);
    EXPECT_THAT(store.error().message(), AllOf(HasSubstr(path()), HasSubstr("read-only")));
    const auto elsewhere = Store::open((directory_ / "new" / "state.db").native(), kBoot);
    ASSERT_FALSE(elsewhere);
    EXPECT_THAT(elsewhere.error().message(), HasSubstr("Read-only file system"));
}

TEST(BootId, IsTheKernels) {
    const auto boot_id = read_boot_id();
    ASSERT_TRUE(boot_id);
    EXPECT_EQ(boot_id->size(), 36U);  // a UUID
}

}  // namespace
}  // namespace netkitd
