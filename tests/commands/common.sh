# shellcheck shell=bash
# What the scripts in tests/ share: where things are, who may run them, and how a step is shown.
# Sourced, never run: what isn't used here is used there.
# shellcheck disable=SC2034
#
# Messages go to stderr: stdout belongs to the command that the script was asked to run.

checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
commands=$checkout/tests/commands
cache=$(realpath --canonicalize-missing -- "${NETKITD_CACHE:-/var/cache/netkitd-test}")
# One build tree a checkout, outside of it: two checkouts share a cache but no tree.
build=$cache/build/$(printf '%s' "$checkout" | sha256sum | cut -c1-12)
# The checkout once more: beside the build tree, so that the way from one to the other is the same for all checkouts, and
# an object that one of them made serves the others (ccache).
source=$build/source
# What all checkouts share: the compiler's results, and clang-tidy's.
shared=$cache/shared
# How it is built (CMakePresets.json); each way has a tree of its own.
preset=${NETKITD_PRESET:-test}
tree=$build/tree
[[ $preset == test ]] || tree=$build/$preset

say() {
    printf '%s\n' "$*" >&2
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# need_root "$0" "$@": sudo may be missing, so the line to type is only shown, never run.
need_root() {
    ((EUID != 0)) || return 0
    printf '%s: this makes namespaces and mounts, so it has to run as root. Type:\n  sudo%s\n' \
        "${1##*/}" "$(printf ' %q' "$@")" >&2
    exit 1
}

now_ms() {
    local now=${EPOCHREALTIME/[.,]/}
    printf '%s' $((now / 1000))
}

# seconds MS: "12.3 s"
seconds() {
    printf '%d.%d s' $(($1 / 1000)) $(($1 % 1000 / 100))
}

# child COMMAND…: starts an external command in the background (its pid: $!) so that it ends with this script even if
# that is killed, and Ctrl-C still reaches it: bash starts background commands with SIGINT ignored.
child() {
    exec env --default-signal=INT,QUIT setpriv --pdeathsig KILL -- "$@"
}

# runs PID: whether this shell's background command has not ended. (`kill -0` says whether anybody has that number, which
# another process may have by then.)
runs() {
    [[ $'\n'$(jobs -rp)$'\n' == *$'\n'"$1"$'\n'* ]]
}

# guarded COMMAND…: runs an external command that ends with this script, and ends with its status.
guarded() {
    local status=0
    child "$@" &
    wait "$!" || status=$?
    return "$status"
}

# step LOG NAME COMMAND…: runs an external command with its output in LOG, shows that it is alive every 10 s, and ends
# with one line that says what it took. A failure shows the log's tail and returns the command's status.
step() {
    local log=$1 name=$2 started status=0 pid
    shift 2
    started=$(now_ms)
    child "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    show_progress "$pid" "$name" "$log" "$started"
    wait "$pid" || status=$?
    if ((status != 0)); then
        say "$name: FAILED after $(seconds $(($(now_ms) - started))), exit status $status. The end of $log:"
        tail -n 40 "$log" | sed 's/^/    /' >&2
        return "$status"
    fi
    say "$(printf '%-44s %10s' "$name" "$(seconds $(($(now_ms) - started)))")"
}

show_progress() {
    local pid=$1 name=$2 log=$3 started=$4 shown=$4 now last pause=0.1
    while runs "$pid"; do
        now=$(now_ms)
        # A long step is asked less often: the processors are for the step.
        ((now - started < 5000)) || pause=0.5
        if ((now - shown >= 10000)); then
            shown=$now
            last=$(tail -c 400 "$log" | tr '\r' '\n' | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c1-90) || last=
            say "    $name, $(((shown - started) / 1000)) s: $last"
        fi
        sleep "$pause"
    done
}
