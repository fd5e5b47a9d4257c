#!/bin/bash
# README's first container: each command as it stands there, and what it shows. In README a command is a line that
# begins with "# ", what follows is its output, in order; "…" is any text, and a line of it alone any lines.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

first_container() {
    sed -n '/^## The first container/,/^## /{/^    /s/^    //p}' "$(dirname -- "$0")/../../README.md"
}

# as_pattern LINE: a regular expression for what README shows as LINE.
as_pattern() {
    sed 's/[][\.*^$+?(){}|]/\\&/g; s/…/.*/g' <<<"$1"
}

# shows PATTERN…: whether what the command wrote has a line for each, in this order.
shows() {
    local line
    while (($# > 0)) && IFS= read -r line; do
        [[ ! $line =~ ^$1[[:space:]]*$ ]] || shift
    done <"$scratch/shown"
    (($# == 0)) || {
        echo "no line for $1, in:"
        cat "$scratch/shown"
        return 1
    }
}

# The command of the lines since the last call, with what README shows for it.
try() {
    local status=0
    [[ -n $command ]] || return 0
    bash -c "$command" >"$scratch/shown" 2>&1 || status=$?
    equals "$command" 0 "$status"
    # Natively the kernel has no netkit, which is what README shows.
    [[ -z ${NETKITD_VM:-} ]] || check "and shows what README says" shows "${expected[@]}"
    ((tried += 1))
}

node_up
# In the VM all takes longer: the hook as lib.sh has it, where Podman looks.
[[ -z ${NETKITD_VM:-} ]] || cp "$hooks_dir/netkitd.json" /usr/share/containers/oci/hooks.d/netkitd.json

command='' expected=() tried=0
while IFS= read -r line; do
    if [[ $line == '# '* ]]; then
        try
        command=${line#'# '} expected=()
    elif [[ $command == *\\ ]]; then
        command=${command%\\}$line
    elif [[ $line != … ]]; then
        expected+=("$(as_pattern "$line")")
    fi
done < <(first_container)
try
equals "there were four of them" 4 "$tried"

contains "the interface is a pair of the node's" 'nk[0-9a-f]{8}' "$(netkitctl endpoint list)"
check "its removal gives all back" podman rm --force --time 0 client
check "soon" wait_for 60 no_endpoints
verdict
