#!/bin/bash
# The build root is made once, by one at a time; whatever interrupts that, the next run recovers by itself. The mirror
# and mmdebstrap are stand-ins: what they would do for minutes is not what is tested.
set -euo pipefail
# shellcheck source=tests/commands_test/lib.sh
. "$(dirname -- "$0")/lib.sh"

mirror=$scratch/mirror
mkdir -p "$mirror"/dists/trixie{,-backports} "$scratch/bin" "$scratch/apt"
printf 'Origin: Debian\nSuite: trixie\n' | tee "$mirror/dists/trixie/InRelease" >"$mirror/dists/trixie-backports/InRelease"

# apt, told of the mirror alone.
mirror_is() {
    echo "deb [trusted=yes] $1 trixie main" >"$scratch/apt/sources.list"
}
cat >"$scratch/apt/apt.conf" <<END
Dir::Etc::sourcelist "$scratch/apt/sources.list";
Dir::Etc::sourceparts "/nonexistent";
Acquire::Retries "0";
END
export APT_CONFIG=$scratch/apt/apt.conf

# mmdebstrap: TARGET is its last argument but one. A run is one line in $scratch/runs.
cat >"$scratch/bin/mmdebstrap" <<END
#!/bin/bash
set -e
target=\${*: -2:1}
echo run >>"$scratch/runs"
mkdir -p "\$target/usr/bin" "\$target/etc"
cp /usr/bin/busybox "\$target/usr/bin"
. "$scratch/behaviour"
END
chmod +x "$scratch/bin/mmdebstrap"
export PATH=$scratch/bin:$PATH

# mmdebstrap_does COMMAND: after it made the root.
mmdebstrap_does() {
    echo "$1" >"$scratch/behaviour"
    : >"$scratch/runs"
}

leftovers() {
    find "$NETKITD_CACHE" -maxdepth 1 -name 'tmp.*'
}

root=$(root_path)

mkdir "$scratch/small"
mount -t tmpfs -o size=1M tmpfs "$scratch/small"
refused "too little space is refused before anything is begun" 1 env NETKITD_CACHE="$scratch/small" tests/commands/build-root
contains "with what is missing and what to do" 'MiB free.*NETKITD_CACHE=' "$(<"$scratch/output")"
umount "$scratch/small"

mmdebstrap_does true
mirror_is "file:$scratch/nowhere"
refused "a mirror that does not answer" 1 tests/commands/build-root
contains "is named" "no Debian trixie at file:$scratch/nowhere" "$(<"$scratch/output")"
contains "with what to look at" 'apt-get update' "$(<"$scratch/output")"
equals "nothing stays of it" '' "$(leftovers)"

mirror_is "file:$mirror"
mmdebstrap_does 'echo "No space left on device" >&2; exit 25'
refused "a disk that gets full in the middle" 1 tests/commands/build-root
contains "is shown" 'No space left on device' "$(<"$scratch/output")"
equals "nothing stays of it" '' "$(leftovers)"

mmdebstrap_does 'sleep 86422'
for signal in INT TERM KILL; do
    started tests/commands/build-root
    check "it is being built" wait_for 120 running "sleep 86422"
    if [[ $signal == INT ]]; then
        kill -INT -- "-$group"
    else
        kill -s "$signal" "$group"
    fi
    ended
    check "SIG$signal: it ends with a failure ($status)" test "$status" != 0
    check "SIG$signal: no process stays" wait_for 120 gone "sleep 86422"
    check "SIG$signal: there is no half of a root" test ! -e "$root"
    [[ $signal == KILL ]] || equals "SIG$signal: nothing stays of it" '' "$(leftovers)"
done
contains "killed, it leaves its scratch directory" 'tmp\.' "$(leftovers)"

mmdebstrap_does 'sleep 2'
started tests/commands/build-root
equals "two at the same time get the same root" "$root" "$(tests/commands/build-root 2>"$scratch/second")"
ended
equals "both end well" 0 "$status"
equals "and one of them has made it" 1 "$(wc -l <"$scratch/runs")"
equals "what was left is removed" '' "$(leftovers)"
check "the container image is there" test -s "$root/usr/share/netkitd-test/image.tar"
equals "from then on it is there at once" "$root" "$(tests/commands/build-root)"
equals "and not made again" 1 "$(wc -l <"$scratch/runs")"

rm -rf "$scratch"
verdict
