#!/bin/bash
# own_code.sh PLUGIN: with the plugin, clang-tidy still finds what it found without it: in a source, in a header of ours,
# in a template, and what its path-sensitive checks find.
set -euo pipefail

plugin=$1
top=$(cd -- "$(dirname -- "$0")/../.." && pwd -P)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/netd"
cp "$top/.clang-tidy" "$scratch"
cat >"$scratch/netd/faulty.h" <<'END'
#pragma once
typedef int in_header;
END
cat >"$scratch/netd/faulty.cpp" <<'END'
#include "faulty.h"

#include <string>
#include <vector>

namespace {

template <typename T>
bool in_template(const T& list) {
    return list.data() == 0;
}

int in_source(const std::vector<std::string>& names) {
    if (in_template(names))
        return 0;
    int* none = nullptr;
    return *none;
}

}  // namespace

int in_interface(const std::vector<std::string>& names);
int in_interface(const std::vector<std::string>& names) {
    return in_source(names);
}
END

findings() {
    { clang-tidy-19 --quiet "$@" "$scratch/netd/faulty.cpp" -- -std=c++23 2>/dev/null || :; } |
        sed -nE 's/^.*\/(faulty[^:]*:[0-9]+):.*\[([a-zA-Z.-]*).*\]$/\1 \2/p' | sort
}

without=$(findings)
with=$(findings "-load=$plugin")
status=0
for finding in "faulty.h:2 modernize-use-using" "faulty.cpp:10 modernize-use-nullptr" \
    "faulty.cpp:14 readability-braces-around-statements" "faulty.cpp:17 clang-analyzer-core.NullDereference"; do
    grep -qxF "$finding" <<<"$with" || {
        echo "not found with the plugin: $finding"
        status=1
    }
done
[[ $with == "$without" ]] || {
    echo "the plugin changes what is found (<: without it):"
    diff <(echo "$without") <(echo "$with") || status=1
}
exit "$status"
