# shellcheck shell=bash
# shellcheck disable=SC2154 # $scratch is the script's
# What the tests that are scripts look at things with. Each check has a name, is shown with its verdict, and leaves the
# script running; at its end the script calls `verdict`. Wants $scratch, a directory for its own files.

passed=0 failed=0

pass() {
    passed=$((passed + 1))
    printf 'ok    %s\n' "$1"
}

# fail NAME [LINE…]
fail() {
    failed=$((failed + 1))
    printf 'FAIL  %s\n' "$1"
    shift
    (($# == 0)) || printf '      %s\n' "$@"
}

# check NAME COMMAND…: COMMAND ends with 0.
check() {
    local name=$1 output status=0
    shift
    # Through a file: a container that was started in the background holds a pipe open for as long as it runs.
    "$@" >"$scratch/output" 2>&1 || status=$?
    output=$(<"$scratch/output")
    if ((status == 0)); then
        pass "$name"
    else
        fail "$name" "command:$(printf ' %q' "$@")" "status:  $status" "output:  ${output//$'\n'/$'\n'               }"
    fi
}

# refused NAME STATUS COMMAND…: COMMAND ends with STATUS, which isn't 0.
refused() {
    local name=$1 expected=$2 output status=0
    shift 2
    "$@" >"$scratch/output" 2>&1 || status=$?
    output=$(<"$scratch/output")
    if ((status == expected)); then
        pass "$name"
    else
        fail "$name" "command:$(printf ' %q' "$@")" "status:  $status, expected $expected" "output:  $output"
    fi
}

# equals NAME EXPECTED ACTUAL
equals() {
    if [[ $2 == "$3" ]]; then
        pass "$1"
    else
        fail "$1" "expected: $2" "actual:   $3"
    fi
}

# contains NAME PATTERN TEXT: some line of TEXT matches the extended regular expression.
contains() {
    if grep -qE -- "$2" <<<"$3"; then
        pass "$1"
    else
        fail "$1" "expected: $2" "in:       ${3//$'\n'/$'\n'                }"
    fi
}

# lacks NAME PATTERN TEXT: no line of TEXT matches.
lacks() {
    if grep -qE -- "$2" <<<"$3"; then
        fail "$1" "not expected: $2" "in:           ${3//$'\n'/$'\n'                    }"
    else
        pass "$1"
    fi
}

# wait_for SECONDS COMMAND…: until COMMAND ends with 0; 1 if it doesn't in time. The VM is slow: wait for events, and
# give them long.
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || return 1
        sleep 0.2
    done
}

# verdict: the last line, and status 0 if there were checks and all passed.
verdict() {
    printf '%d checks passed, %d failed\n' "$passed" "$failed"
    ((passed > 0 && failed == 0))
}
