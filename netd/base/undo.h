// UndoStack: what a transaction has done so far, undone in reverse unless it is committed.
//
//   UndoStack undo;
//   NK_TRY(create());  undo.push("remove the pair", [&] { return remove(); });
//   …
//   undo.commit();
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/result.h"

namespace netkitd {

class UndoStack {
public:
    UndoStack() = default;
    UndoStack(const UndoStack&) = delete;
    UndoStack& operator=(const UndoStack&) = delete;
    // An undo that fails must not keep the earlier ones from running; it is logged, as nobody is left to return it to.
    ~UndoStack() {
        while (!steps_.empty()) {
            const auto [what, undo] = std::move(steps_.back());
            steps_.pop_back();
            if (const Result<void> result = undo(); !result) {
                log(LogLevel::error, "undo: {}: {}", what, result.error().message());
            }
        }
    }

    void push(std::string what, std::function<Result<void>()> undo) {
        steps_.emplace_back(std::move(what), std::move(undo));
    }
    void commit() { steps_.clear(); }

private:
    std::vector<std::pair<std::string, std::function<Result<void>()>>> steps_;
};

}  // namespace netkitd
