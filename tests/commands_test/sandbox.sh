#!/bin/bash
# tests/sandbox passes on what a command says, takes and ends with, and leaves nothing behind, however it ends.
set -euo pipefail
# shellcheck source=tests/commands_test/lib.sh
. "$(dirname -- "$0")/lib.sh"

# This sandbox's own root serves as the build root: an overlay over an overlay is as deep as the kernel allows.
root=$(root_path)
mkdir "$root"
mount --bind / "$root"
left >"$scratch/before"

equals "stdin reaches the command" hello "$(echo hello | tests/sandbox cat)"
equals "stdout comes out" out "$(tests/sandbox bash -c 'echo out; echo errors >&2' 2>"$scratch/errors")"
equals "stderr comes out, apart" errors "$(<"$scratch/errors")"
refused "the exit status is the command's" 7 tests/sandbox bash -c 'exit 7'
# shellcheck disable=SC2016 # the $ is for the command
refused "a command that a signal ends" 143 tests/sandbox bash -c 'kill -TERM $$'
refused "a command that does not exist" 127 tests/sandbox no-such-command
contains "is named" 'no-such-command' "$(<"$scratch/output")"
equals "it starts where the caller is" "$PWD/netd" "$(cd netd && ../tests/sandbox pwd)"
check "its writes are thrown away" tests/sandbox bash -c 'touch /usr/written && test -e /usr/written'
check "and the root has none of them" test ! -e /usr/written
equals "it has a network of its own, with lo alone" lo "$(tests/sandbox ls /sys/class/net)"

mkdir -p "$NETKITD_CACHE/build/"{gone,here}
echo "$scratch/no-checkout" >"$NETKITD_CACHE/build/gone/checkout"
echo "$PWD" >"$NETKITD_CACHE/build/here/checkout"
check "what is kept for checkouts" tests/commands/forget
check "goes with them" test ! -e "$NETKITD_CACHE/build/gone"
check "and stays while they are there" test -e "$NETKITD_CACHE/build/here"

two_at_once() {
    tests/sandbox bash -c 'echo 1 >/tmp/mine; sleep 1; grep 1 /tmp/mine' &
    tests/sandbox bash -c 'echo 2 >/tmp/mine; sleep 1; grep 2 /tmp/mine'
    wait $!
}
check "two at the same time don't see each other" two_at_once

# What it leaves running, mounted and created, a process outside of its session among it.
litter='setsid sleep 86421 & ip netns add litter; ip link add litter type dummy; mount -t tmpfs tmpfs /mnt; exec sleep 86423'
for signal in INT TERM KILL; do
    started tests/sandbox bash -c "$litter"
    check "the command runs" wait_for 120 running 'sleep 86423' # all of the litter is there
    if [[ $signal == INT ]]; then
        kill -INT -- "-$group" # as Ctrl-C does: the whole foreground group
    else
        kill -s "$signal" "$group"
    fi
    ended
    check "SIG$signal: the script ends with a failure ($status)" test "$status" != 0
    check "SIG$signal: no process stays" wait_for 120 gone 'sleep 86421'
    check "SIG$signal: nor the command" wait_for 20 gone 'sleep 86423'
done
check "no mount, namespace or device stays" wait_for 120 bash -c \
    "$(declare -f left); left | diff '$scratch/before' - >'$scratch/difference'"
[[ ! -s $scratch/difference ]] || cat "$scratch/difference"
check "the next one works" tests/sandbox true

umount "$root"
rm -rf --one-file-system "$scratch"
verdict
