// The hooks.d entry that is installed, against oci-hooks(5).
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>

#include "oci/options.h"

namespace netkitd::hook {
namespace {

using nlohmann::json;

class HooksJson : public ::testing::Test {
protected:
    json entry_ = json::parse(std::ifstream(HOOKS_JSON));
};

TEST_F(HooksJson, IsOfSchemaOneAndHoldsNothingElse) {
    EXPECT_EQ(entry_.at("version"), "1.0.0");
    EXPECT_EQ(entry_.size(), 4U);
    for (const char* key : {"version", "hook", "when", "stages"}) {
        EXPECT_TRUE(entry_.contains(key)) << key;
    }
}

TEST_F(HooksJson, StartsTheInstalledHook) {
    EXPECT_EQ(entry_.at("hook").at("path"), INSTALLED_HOOK);
    EXPECT_TRUE(std::string(INSTALLED_HOOK).starts_with('/'));
    EXPECT_EQ(entry_.at("hook").at("args"), json::array({"netkit-hook"})) << "args[0] is argv[0]";
}

TEST_F(HooksJson, RunsAtBothEndsOfAContainersLife) {
    EXPECT_EQ(entry_.at("stages"), json::array({"createRuntime", "poststop"}));
}

TEST_F(HooksJson, TheRuntimeWaitsLongerThanTheHooksOwnDeadline) {
    EXPECT_GT(std::chrono::seconds(entry_.at("hook").at("timeout").get<int>()), Options().deadline);
}

// Go's regexes match anywhere: without its anchor, my.io.netkitd.network would match too. Any of netkitd's annotations
// does, with any value, so that one without io.netkitd.network, or an empty one, is refused and not passed over.
TEST_F(HooksJson, AllOfOurAnnotationsMatchAndNoOthers) {
    ASSERT_EQ(entry_.at("when").size(), 1U);
    const json& annotations = entry_.at("when").at("annotations");
    ASSERT_EQ(annotations.size(), 1U);
    const std::regex key(annotations.items().begin().key());
    for (const char* ours : {"io.netkitd.network", "io.netkitd.ipv4", "io.netkitd.netwrok"}) {
        EXPECT_TRUE(std::regex_search(ours, key)) << ours;
    }
    for (const char* other : {"my.io.netkitd.network", "io-netkitd-network", "io.netkitd", "io.netkitdx.network"}) {
        EXPECT_FALSE(std::regex_search(other, key)) << other;
    }
    EXPECT_EQ(annotations.items().begin().value(), "") << "matches every value, line ends in it too";
}

}  // namespace
}  // namespace netkitd::hook
