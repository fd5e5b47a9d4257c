#include "daemon/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace netkitd {
namespace {

using testing::HasSubstr;

Result<std::variant<Options, std::string>> parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "netkitd");
    return parse_options(static_cast<int>(arguments.size()), arguments.data());
}

TEST(DaemonOptions, ServesFromTheUsualPlacesWhenNothingIsSaid) {
    const auto options = std::get<Options>(*parse({}));
    EXPECT_EQ(options.action, Options::Action::serve);
    EXPECT_EQ(options.config_path, "/etc/netkitd/netkitd.json");
    EXPECT_FALSE(options.config_required);
    EXPECT_EQ(options.socket_path, "/run/netkitd/netkitd.sock");
    EXPECT_EQ(options.bpffs_path, "/sys/fs/bpf/netkitd");
    EXPECT_FALSE(options.store_path);
}

TEST(DaemonOptions, EveryPathCanBeChanged) {
    const auto options = std::get<Options>(
        *parse({"--config", "/n/c.json", "--socket", "/n/s", "--bpffs", "/n/b", "--store", "/n/state.db"}));
    EXPECT_EQ(options.config_path, "/n/c.json");
    EXPECT_TRUE(options.config_required);
    EXPECT_EQ(options.socket_path, "/n/s");
    EXPECT_EQ(options.bpffs_path, "/n/b");
    EXPECT_EQ(options.store_path, "/n/state.db");
}

TEST(DaemonOptions, RefusesWhatMakesNoSense) {
    EXPECT_THAT(parse({"--force"}).error().message(), HasSubstr("--force goes with --purge"));
    EXPECT_THAT(parse({"--purge", "--check-config"}).error().message(), HasSubstr("exclude each other"));
    EXPECT_THAT(parse({"--nonsense"}).error().message(), HasSubstr("nonsense"));
    EXPECT_THAT(parse({"stray"}).error().message(), HasSubstr("stray"));
}

TEST(DaemonOptions, PurgesWhenTold) {
    const auto options = std::get<Options>(*parse({"--purge", "--force"}));
    EXPECT_EQ(options.action, Options::Action::purge);
    EXPECT_TRUE(options.force);
}

TEST(DaemonOptions, PrintsHelpAndVersion) {
    EXPECT_THAT(std::get<std::string>(*parse({"--help"})), HasSubstr("--check-config"));
    EXPECT_THAT(std::get<std::string>(*parse({"--version"})), HasSubstr("netkitd "));
}

}  // namespace
}  // namespace netkitd
