#!/bin/bash
# Pods whose infra container has no annotation: the endpoint is the pod's, whichever of its members starts and stops.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

node_up
mirror_up 7 outside

# member NAME: of the pod, with the annotation.
member() {
    podman run --detach --name "$1" --hooks-dir "$hooks_dir" --pod pod --stop-timeout 0 \
        --annotation io.netkitd.network=default busybox sleep 1000 >/dev/null
}

podman pod create --name pod --network none >/dev/null
member one
member two
podman run --detach --pod pod --stop-timeout 0 --name plain busybox sleep 1000 >/dev/null
address=$(address4 one)
equals "two members have one endpoint" 1 "$(netkitctl endpoint list --json | jq '.endpoints | length')"
podman restart --time 0 one >/dev/null
equals "a member that restarts keeps the pod's address" "$address" "$(address4 one)"
check "it reaches the outside" in_container one ping -c 1 -W 10 "$far4"
check "the other did all the time" in_container two ping -c 1 -W 10 "$far4"
podman stop --time 0 one >/dev/null
check "one that stops cuts nobody off" in_container two ping -c 1 -W 10 "$far4"
podman stop --time 0 two >/dev/null
sleep 1
check "nor does the last one that has an annotation" in_container plain ping -c 1 -W 10 "$far4"
equals "by TCP" "$node4" "$(in_container plain socat -T 20 - TCP:"$far4":7,shut-none </dev/null)"
equals "the endpoint is there" "$address" "$(netkitctl endpoint list --json | jq -r '.endpoints[0].ipv4')"
daemon_stop
daemon_start
check "also over a restart of the daemon" in_container plain ping -c 1 -W 10 "$far4"
podman start one >/dev/null
equals "one that starts again is in it" "$address" "$(address4 one)"
equals "there is no other endpoint" 1 "$(netkitctl endpoint list --json | jq '.endpoints | length')"
podman pod restart pod >/dev/null
check "podman pod restart gives it a network again" wait_for 50 in_container one ping -c 1 -W 10 "$far4"
podman pod rm --force --time 0 pod >/dev/null
check "the pod's end is the endpoint's" wait_for 60 no_endpoints

cat >"$scratch/pod.yaml" <<END
apiVersion: v1
kind: Pod
metadata:
  name: played
  annotations:
    io.netkitd.network: default
spec:
  containers:
    - {name: app, image: localhost/busybox, command: [sleep, "1000"]}
END
check "podman kube play" podman --hooks-dir "$hooks_dir" kube play --network none "$scratch/pod.yaml"
check "its container reaches the outside" in_container played-app ping -c 1 -W 10 "$far4"
check "podman kube down" podman kube down --force "$scratch/pod.yaml"
check "frees it" wait_for 60 no_endpoints

container always --restart=always -- sh -c 'sleep 2' >/dev/null
restarted() {
    (($(podman inspect --format '{{.RestartCount}}' always) >= 1))
}
check "it is restarted" wait_for 200 restarted
check "a container that is restarted always has a network each time" wait_for 50 in_container always ping -c 1 -W 10 "$far4"
podman rm --force --time 0 always >/dev/null
check "and none at the end" wait_for 60 no_endpoints

# Joined by one that has no annotation: it goes on when the first is gone.
container first -- sleep 1000 >/dev/null
podman run --detach --network container:first --name joined busybox sleep 1000 >/dev/null
podman kill first >/dev/null
check "who shares a container's network keeps it" in_container joined ping -c 1 -W 10 "$far4"
podman rm --force --time 0 --depend first >/dev/null
check "and ends it" wait_for 60 no_endpoints

verdict
