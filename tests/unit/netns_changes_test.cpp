#include "endpoint/netns_changes.h"

#include <gtest/gtest.h>

namespace netkitd {
namespace {

TEST(NetnsChanges, AreWrittenIntoTheAliasAndReadFromIt) {
    for (const NetnsChanges changes : {NetnsChanges{}, NetnsChanges{.local_ports = true, .loopback_up = false},
                                       NetnsChanges{.local_ports = false, .loopback_up = true},
                                       NetnsChanges{.local_ports = true, .loopback_up = true}}) {
        EXPECT_EQ(changes_in(alias_text("web", "default", changes)), changes);
    }
    EXPECT_EQ(alias_text("web", "default", {}), "netkitd web network=default");
    EXPECT_EQ(alias_text("web", "default", {.local_ports = true, .loopback_up = true}),
              "netkitd web network=default changed=local-ports,lo");
}

TEST(NetnsChanges, OfAnotherAliasAreNone) {
    for (const char* alias : {"", "netkitd web network=default", "changed=", "changed=mtu,", "unchanged=lo"}) {
        EXPECT_FALSE(changes_in(alias).any()) << alias;
    }
}

}  // namespace
}  // namespace netkitd
