# shellcheck shell=bash
# What the tests of the scripts share: a cache of their own, and no mark of the sandbox that they run in, so that the
# scripts do all that they do on a machine.
#
#   . "$(dirname -- "$0")/lib.sh"
#   check "…" tests/sandbox true
#   verdict

if [[ -z ${NETKITD_SANDBOX:-} ]]; then
    echo "start it with: tests/sandbox $0" >&2
    exit 1
fi
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." || exit
scratch=$(mktemp -d)
# shellcheck source=tests/commands/checks.sh
. tests/commands/checks.sh

unset NETKITD_SANDBOX
export NETKITD_CACHE=$scratch/cache
mkdir "$NETKITD_CACHE"

# Where the build root would be, as build-root itself says when it finds too little space for it.
root_path() {
    mkdir "$scratch/small"
    mount -t tmpfs -o size=1M tmpfs "$scratch/small"
    NETKITD_CACHE=$scratch/small tests/commands/build-root 2>&1 | grep -o '/root-[0-9a-f]*' | sed "s,^,$NETKITD_CACHE,"
    umount "$scratch/small"
    rmdir "$scratch/small"
}

# running COMMAND-LINE: whether a process has exactly that one.
running() {
    pgrep --full --exact "$1" >/dev/null
}

gone() {
    ! running "$1"
}

# left: all that outlives a process: mounts, namespaces, devices.
left() {
    cut -d ' ' -f 3,5 /proc/self/mountinfo
    lsns --noheadings --output NS,TYPE | sort
    ip -oneline link
}

# started COMMAND…: in a process group of its own, as a terminal's shell does, with its words in $scratch/said. A script's
# background commands ignore SIGINT, a terminal's don't.
started() {
    env --default-signal=INT,QUIT setsid "$@" >"$scratch/said" 2>&1 </dev/null &
    group=$!
}

# ended: waits for what was started, and leaves its status in $status.
ended() {
    status=0
    # shellcheck disable=SC2034 # for the tests
    wait "$group" 2>/dev/null || status=$? # bash would report that it was killed
}
