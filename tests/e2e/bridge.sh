#!/bin/bash
# Podman's own bridge beside netkitd: its containers and netkitd's reach each other as the host does and as is
# configured, both keep the outside, and Podman's firewall stays as Podman made it.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

# with_configuration JSON: a daemon that has it.
with_configuration() {
    daemon_stop
    echo "$1" >"$scratch/netkitd.json"
    daemon_start --config "$scratch/netkitd.json"
}

node_up
container web --annotation io.netkitd.publish=8099:8080 -- httpd -f -p 8080 -h / >/dev/null
web=$(address4 web)
podman network create --ipv6 --subnet 10.90.0.0/24 --subnet fd90:90::/64 bridged >/dev/null
podman run --detach --name theirs --network bridged --publish 8888:8080 busybox httpd -f -p 8080 -h / >/dev/null
theirs=$(podman inspect --format '{{.NetworkSettings.Networks.bridged.IPAddress}}' theirs)
theirs6=$(podman inspect --format '{{.NetworkSettings.Networks.bridged.GlobalIPv6Address}}' theirs)
bridge=$(podman network inspect --format '{{.NetworkInterface}}' bridged)
rules=$(nft list ruleset)
is_uplink() { netkitctl status --json | jq --exit-status --arg name "$1" '.uplinks[] | select(.name == $name)'; }

check "the bridge is an uplink by itself" wait_for 20 is_uplink "$bridge"
check "a container reaches Podman's by ping" in_container web ping -c 1 -W 10 "$theirs"
check "over IPv6 too" in_container web ping -c 1 -W 10 "$theirs6"
check "by TCP" in_container web socat -T 10 - "TCP:$theirs:8080" <<<$'GET / HTTP/1.0\r\n\r\n'
check "by the port that Podman publishes on the host" \
    in_container web socat -T 10 - "TCP:$node4:8888" <<<$'GET / HTTP/1.0\r\n\r\n'
refused "Podman's does not reach it" 1 in_container theirs ping -c 1 -W 2 "$web"
for place in "$node4" "[$node6]" 10.90.0.1; do
    check "Podman's reaches a published port by $place" \
        in_container theirs socat -T 10 - "TCP:$place:8099" <<<$'GET / HTTP/1.0\r\n\r\n'
done
check "both reach the outside: netkitd's" in_container web ping -c 1 -W 10 "$far4"
check "Podman's" in_container theirs ping -c 1 -W 10 "$far4"
check "Podman's over IPv6" in_container theirs ping -c 1 -W 10 "$far6"
check "the host reaches Podman's" ping -c 1 -W 10 "$theirs"

with_configuration '{"masquerade": {"non_masquerade_cidrs": ["10.90.0.0/24"]}}'
check "where it is configured Podman's reaches it" wait_for 20 in_container theirs ping -c 1 -W 2 "$web"
check "by TCP too" in_container theirs socat -T 10 - "TCP:$web:8080" <<<$'GET / HTTP/1.0\r\n\r\n'
check "and it reaches Podman's as before" in_container web ping -c 1 -W 10 "$theirs"
check "by the port that Podman publishes too" \
    in_container web socat -T 10 - "TCP:$node4:8888" <<<$'GET / HTTP/1.0\r\n\r\n'

with_configuration '{"uplinks": ["up0"]}'
contains "where it is no uplink, that is said" 'Net Unreachable' "$(in_container web ping -c 1 -W 2 "$theirs" || :)"
contains "and named" "no-uplink.*$bridge" "$(netkitctl status)"
check "Podman's reaches the outside as before" in_container theirs ping -c 1 -W 10 "$far4"
equals "Podman's rules are as they were" "$rules" "$(nft list ruleset)"

podman rm --force --time 0 web theirs >/dev/null
podman network rm bridged >/dev/null
check "removing the containers frees everything" wait_for 60 no_endpoints
# Podman leaves its tables behind.
nft flush ruleset
verdict
