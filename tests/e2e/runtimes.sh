#!/bin/bash
# crun and runc without Podman: the hook in the bundle's config.json, and its poststop; 50 at a time.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

node_up

for runtime in crun runc; do
    bundle "$scratch/$runtime" "$runtime-1" sleep 1000
    check "$runtime creates a container" "$runtime" run --detach --bundle "$scratch/$runtime" "$runtime-1" </dev/null
    pid=$("$runtime" state "$runtime-1" | jq .pid)
    check "$runtime: the container reaches the outside" nsenter --net="/proc/$pid/ns/net" -- ping -c 1 -W 10 "$far4"
    check "$runtime deletes it" "$runtime" delete --force "$runtime-1"
    check "$runtime: poststop gave everything back" wait_for 60 no_endpoints
done

parallel() {
    local id
    for ((id = 1; id <= 50; id++)); do
        crun run --detach --bundle "$scratch/many" "many-$id" </dev/null >>"$scratch/many.log" 2>&1 &
    done
    wait_all
}
bundle "$scratch/many" many sleep 1000
check "50 containers of crun at a time" parallel
equals "each has an endpoint" 50 "$(netkitctl endpoint list --json | jq '.endpoints | length')"
equals "and an address of its own" 50 "$(netkitctl endpoint list --json | jq '[.endpoints[].ipv4] | unique | length')"
pid=$(crun state many-37 | jq .pid)
check "one of them reaches the outside" nsenter --net="/proc/$pid/ns/net" -- ping -c 1 -W 10 "$far4"
check "one of them reaches another" nsenter --net="/proc/$pid/ns/net" -- ping -c 1 -W 10 \
    "$(netkitctl endpoint show many-12 --json | jq -r .ipv4)"
for ((id = 1; id <= 50; id++)); do crun delete --force "many-$id"; done
check "all are given back" wait_for 120 no_endpoints

eight() {
    local id
    for ((id = 1; id <= 8; id++)); do container "pod-$id" -- sleep 1000 >/dev/null & done
    wait_all
}
check "8 containers of Podman at a time" eight
equals "each has an endpoint" 8 "$(netkitctl endpoint list --json | jq '.endpoints | length')"
