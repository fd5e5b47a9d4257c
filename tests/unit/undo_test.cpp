#include "base/undo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace netkitd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(UndoStack, UndoesInReverseUnlessCommitted) {
    std::vector<std::string> undone;
    const auto note = [&](const char* what) {
        return [&undone, what]() -> Result<void> {
            undone.emplace_back(what);
            return {};
        };
    };
    {
        UndoStack undo;
        undo.push("first", note("first"));
        undo.push("second", note("second"));
    }
    EXPECT_THAT(undone, ElementsAre("second", "first"));
    undone.clear();
    {
        UndoStack undo;
        undo.push("first", note("first"));
        undo.commit();
    }
    EXPECT_THAT(undone, IsEmpty());
}

TEST(UndoStack, AFailedUndoDoesNotKeepTheOthersFromRunning) {
    int undone = 0;
    testing::internal::CaptureStderr();
    {
        UndoStack undo;
        undo.push("remove the first", [&]() -> Result<void> {
            ++undone;
            return {};
        });
        undo.push("remove the second", []() -> Result<void> { return fail_errno(EBUSY, "remove nk0"); });
    }
    EXPECT_EQ(undone, 1);
    EXPECT_EQ(testing::internal::GetCapturedStderr(),
              "error: undo: remove the second: remove nk0: Device or resource busy\n");
}

}  // namespace
}  // namespace netkitd
