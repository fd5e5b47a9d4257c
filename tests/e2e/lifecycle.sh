#!/bin/bash
# Containers and the daemon come and go: restarts, kills, pods, refusals.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

node_up
container web -- sleep 1000 >/dev/null
first=$(address4 web)

# 30 s of data, one line every 100 ms, each way through masquerade; the daemon dies in the middle.
background outside socat TCP-LISTEN:7,reuseaddr,fork EXEC:cat
wait_for 10 outside bash -c 'ss -ltn | grep -q :7'
pid=$(pid_of web)
(for i in $(seq 300); do
    echo "line $i"
    sleep 0.1
done) | nsenter --net="/proc/$pid/ns/net" -- socat -t 20 - TCP:"$far4":7 >"$scratch/echoed" &
transfer=$!
sleep 3
daemon_stop KILL
check "traffic flows while no daemon runs" in_container web ping -c 1 -W 10 "$far4"
check "IPv6 too" in_container web ping -c 1 -W 10 "$far6"
contains "netkitctl says that it does not run, and how to start it" 'systemctl start netkitd' "$(netkitctl status 2>&1 || :)"
daemon_start
wait "$transfer" || fail "the transfer ends well"
equals "no line of the transfer was lost" "$(seq -f 'line %g' 300)" "$(cat "$scratch/echoed")"
equals "the daemon took the endpoint up again" "$first" \
    "$(netkitctl endpoint list --json | jq -r '.endpoints[].ipv4')"

check "podman restart" podman restart --time 0 web
check "the container is networked again" in_container web ping -c 1 -W 10 "$far4"
check "with IPv6" in_container web ping -c 1 -W 10 "$far6"
check "its former endpoint is gone" wait_for 60 endpoints 1

kill -9 "$(pid_of web)"
check "a container killed without poststop is freed" wait_for 90 no_endpoints
podman rm --force --time 0 web >/dev/null

# A pod: two containers in one netns.
container infra -- sleep 1000 >/dev/null
check "a second container in the same netns" podman run --detach --name member --hooks-dir "$hooks_dir" \
    --network container:infra --annotation io.netkitd.network=default busybox sleep 1000
equals "they share one endpoint" 1 "$(netkitctl endpoint list --json | jq '.endpoints | length')"
equals "which counts both" 2 "$(netkitctl endpoint list --json | jq '.endpoints[0].containers | length')"
podman rm --force --time 0 member >/dev/null
member_is_gone() {
    (($(netkitctl endpoint list --json | jq '.endpoints[0].containers | length') == 1))
}
# The netns and its devices stay: only poststop can say that this one is gone.
check "poststop gives back the one that is removed" wait_for 60 member_is_gone
check "the one that stays keeps its network" in_container infra ping -c 1 -W 10 "$far4"
podman rm --force --time 0 infra >/dev/null
check "the last one gives it back" wait_for 60 no_endpoints

# crun throws the hook's words away, so the cause is looked for where the user would: in status and the log.
refused "--network host is refused" 126 podman run --rm --hooks-dir "$hooks_dir" --network host \
    --annotation io.netkitd.network=default busybox true
contains "and the way out is named" 'attach.*--network none' "$(netkitctl status)"
ip netns add taken
ip -n taken link add eth0 type veth peer name other
refused "a netns that has an eth0 is refused" 1 netkitctl attach --id taken --netns /run/netns/taken \
    --annotation io.netkitd.network=default
contains "and the way out is named" 'io.netkitd.interface' "$(netkitctl status)"
check "another name for the interface is a way out" netkitctl attach --id taken --netns /run/netns/taken \
    --annotation io.netkitd.network=default --annotation io.netkitd.interface=nk0
check "the gateway answers there" ip netns exec taken ping -c 1 -W 10 10.77.0.1
check "netkitctl detach" netkitctl detach --id taken
ip netns delete taken
refused "an annotation with a typo fails the start" 126 podman run --rm --hooks-dir "$hooks_dir" --network none \
    --annotation io.netkitd.network=default --annotation io.netkitd.ipv5=10.77.0.9 busybox true
contains "and is named" 'io.netkitd.ipv5' "$(netkitctl status)"
check "nothing is left of what was refused" no_endpoints

# One after the other, its network namespace ends before its process does.
for _ in {1..10}; do
    podman run --rm --hooks-dir "$hooks_dir" --network none --annotation io.netkitd.network=default busybox true
done
check "those that ended leave nothing" wait_for 60 no_endpoints
lacks "and none of them was taken for cut off" 'was deleted while container' "$(<"$daemon_log")"
