// The configuration file that is installed is what its comments say it is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/config.h"

namespace netkitd {
namespace {

TEST(ExampleConfig, IsTheDefaults) {
    const auto config = load_config(PACKAGING_DIR "/netkitd.json");
    ASSERT_TRUE(config) << config.error().message();
    EXPECT_EQ(*config, default_config());
}

}  // namespace
}  // namespace netkitd
