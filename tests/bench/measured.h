// What the benchmark's programs that run BPF have in common: a node to measure on, and an end that says what went
// wrong.
#pragma once

#include <cstdio>

#include "harness/netns.h"
#include "harness/prog_run.h"

namespace netkitd::test {

// Calls `measure` with a node in a namespace of its own; returns main()'s status.
template <typename Measure>
int measured(const char* program, const TestNode::Options& options, Measure measure) {
    const NetworkNamespace home;
    Result<void> done;
    home.inside([&] {
        const auto node = TestNode::create(home, options);
        done = node ? measure(*node) : std::unexpected(node.error());
    });
    if (!done) {
        std::fprintf(stderr, "%s: %s\n", program, done.error().message().c_str());
    }
    return done ? 0 : 1;
}

}  // namespace netkitd::test
