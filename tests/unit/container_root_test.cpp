// Paths in a root file system that somebody else made.
#include "oci/container_root.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace netkitd::hook {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ContainerRootTest : public ::testing::Test {
protected:
    void SetUp() override {
        fs::create_directories(root_ / "etc");
        std::ofstream(outside_) << "the host's";
    }
    void TearDown() override { fs::remove_all(top_); }
    [[nodiscard]] Result<UniqueFd> find_or_make() const {
        return ContainerRoot::open(root_, "").value().find_or_make("etc/resolv.conf");
    }
    // Where the descriptor leads, as seen from the root.
    [[nodiscard]] std::string place(const Result<UniqueFd>& fd) const {
        return fd ? "/" + fs::read_symlink(formatted("/proc/self/fd/{}", fd->get())).lexically_relative(root_).string()
                  : fd.error().message();
    }

    const fs::path top_ = testing::TempDir() + formatted("container_root.{}", ::getpid());
    const fs::path root_ = top_ / "root";
    const fs::path outside_ = top_ / "resolv.conf";
};

TEST_F(ContainerRootTest, AFileThatIsThereIsFound) {
    std::ofstream(root_ / "etc/resolv.conf") << "nameserver 192.0.2.53";
    const auto found = find_or_make();
    EXPECT_EQ(place(found), "/etc/resolv.conf");
    EXPECT_EQ(size_of(found->get()), 21);
    EXPECT_EQ(is_mount(found->get()), false);
}

TEST_F(ContainerRootTest, OneThatIsMissingIsMadeEmptyWithItsDirectories) {
    fs::remove_all(root_ / "etc");
    const auto made = find_or_make();
    EXPECT_EQ(place(made), "/etc/resolv.conf");
    EXPECT_EQ(size_of(made->get()), 0);
}

TEST_F(ContainerRootTest, ALinkLeadsWhereItWouldInTheContainer) {
    for (const auto& [target, expected] :
         {std::pair("/run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve/stub-resolv.conf"),
          {"../run/resolv.conf", "/run/resolv.conf"},
          {"../../../../resolv.conf", "/resolv.conf"},
          {"/etc/../../resolv.conf", "/resolv.conf"}}) {
        fs::remove(root_ / "etc/resolv.conf");
        fs::create_symlink(target, root_ / "etc/resolv.conf");
        EXPECT_EQ(place(find_or_make()), expected) << target;
    }
    std::ifstream file(outside_);
    std::string text;
    std::getline(file, text);
    EXPECT_EQ(text, "the host's");
    EXPECT_FALSE(fs::exists(top_ / "run"));
}

// Made as a runtime would make it, the path would end at what is there already.
TEST_F(ContainerRootTest, NothingIsMadeOnAWayThatLeadsBack) {
    ASSERT_EQ(::mkfifo((root_ / "fifo").c_str(), 0600), 0);
    fs::create_symlink("/aa/bb/../../fifo", root_ / "etc/resolv.conf");
    EXPECT_THAT(place(find_or_make()), HasSubstr("leads back from where nothing is"));
    EXPECT_FALSE(fs::exists(root_ / "aa"));
}

TEST_F(ContainerRootTest, OnlyAFileIsMountedOver) {
    ASSERT_EQ(::mkfifo((root_ / "fifo").c_str(), 0600), 0);
    const auto root = ContainerRoot::open(root_, "").value();
    for (const auto& [target, is_file] : {std::pair("/fifo", false), {"/etc", false}, {"/resolv.conf", true}}) {
        fs::remove(root_ / "etc/resolv.conf");
        fs::create_symlink(target, root_ / "etc/resolv.conf");
        EXPECT_EQ(root.check_target(find_or_make()->get()).has_value(), is_file) << target;
    }
}

TEST_F(ContainerRootTest, AChainOfLinksIsFollowed) {
    fs::create_directories(root_ / "var/run");
    fs::create_symlink("/var/run", root_ / "run");
    fs::create_symlink("../run/resolv.conf", root_ / "etc/resolv.conf");
    EXPECT_EQ(place(find_or_make()), "/var/run/resolv.conf");
}

TEST_F(ContainerRootTest, WhatLeadsNowhereIsAnError) {
    fs::create_symlink("resolv.conf", root_ / "etc/resolv.conf");
    EXPECT_FALSE(find_or_make()) << "a loop";
    fs::remove(root_ / "etc/resolv.conf");
    fs::create_symlink("/", root_ / "etc/resolv.conf");
    const auto directory = find_or_make();
    EXPECT_TRUE(!directory || place(directory) == "/.");
    EXPECT_FALSE(ContainerRoot::open(root_ / "none", ""));
}

}  // namespace
}  // namespace netkitd::hook
