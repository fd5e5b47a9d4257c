#!/bin/bash
# A failure says so: to whom it happened, why, and what to do.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

node_up

# started_without OPTION…: a container that has these annotations and not the one that it needs.
started_without() {
    podman run --rm --hooks-dir "$hooks_dir" --network none --annotation run.oci.hooks.stderr="$scratch/stderr" "$@" \
        busybox true
}
touch "$scratch/stderr"
refused "an annotation of netkitd's without io.netkitd.network" 126 started_without --annotation io.netkitd.ipv4=10.77.0.9
contains "says so where the hook's words go" 'no annotation io.netkitd.network' "$(<"$scratch/stderr")"
refused "a typo alone" 126 started_without --annotation io.netkitd.netwrok=default
refused "an empty one" 126 started_without --annotation io.netkitd.network=
contains "is named" "io.netkitd.network.*'' is not a network name" "$(netkitctl status)"
check "those of others are left alone" started_without --annotation org.example.io.netkitd.network=1

refused "a network that does not exist" 126 container lost --annotation io.netkitd.network=lost -- true
id=$(podman inspect --format '{{.Id}}' lost)
contains "is in status, with the container" "attach ${id:0:12}.*there is no network 'lost'" "$(netkitctl status)"
contains "and in doctor" "warn +last-errors +.*attach ${id:0:12}.*there is no network 'lost'" "$(netkitctl doctor || :)"
podman rm lost >/dev/null

# What is dropped is told of the container that it happened to.
container web -- sleep 1000 >/dev/null
container db -- sleep 1000 >/dev/null
ip link add other0 type veth peer name other1
ip link add bridge0 type bridge
ip link set other0 up master bridge0
ip route add 203.0.113.0/24 dev other0
in_container web ping -c 3 -i 0.2 -W 1 203.0.113.9 >/dev/null 2>&1 || :
id=$(podman inspect --format '{{.Id}}' web)
contains "endpoint show has what was dropped of a container's packets" 'no-uplink +3 .*other0' "$(netkitctl endpoint show "$id")"
equals "as JSON" 3 "$(netkitctl endpoint show "$id" --json | jq '.drops[] | select(.name == "no-uplink") | .packets')"
lacks "and of nobody else's" no-uplink "$(netkitctl endpoint show "$(podman inspect --format '{{.Id}}' db)")"
contains "what goes on is in Degraded, with the container and the device" \
    "container ${id:0:12}.*no-uplink.*other0" "$(netkitctl status)"
daemon_stop
daemon_start
contains "a restart does not forget it" 'no-uplink +3 ' "$(netkitctl endpoint show "$id")"
ip link delete other0
ip link delete bridge0

nft add table ip filter
nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }'
contains "doctor warns where the host drops what it forwards" 'warn +firewall .*policy drop.*containers' "$(netkitctl doctor || :)"
check "which does not hold for containers" in_container web ping -c 1 -W 10 "$far4"
nft delete table ip filter
lacks "and does not otherwise" 'warn +firewall' "$(netkitctl doctor || :)"

podman rm --force --time 0 web db >/dev/null
verdict
