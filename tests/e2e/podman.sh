#!/bin/bash
# `podman run` with the annotation: the interface of the picture, and everything a container can reach with it.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

echo 'nameserver 192.0.2.53' >/etc/resolv.conf
node_up
mode=$(netkitctl status --json | jq -r .device_mode.active)

mkdir -p "$scratch/www"
echo 'hello from outside' >"$scratch/www/index.html"
background outside busybox httpd -f -p 80 -h "$scratch/www"
mirror_up 7 outside

container web --annotation io.netkitd.publish=8088:8080,8089:7/udp -- \
    sh -c 'mkdir /tmp/www; echo hello from web >/tmp/www/index.html; exec httpd -f -v -p 8080 -h /tmp/www' >/dev/null
container client -- sleep 1000 >/dev/null
web=$(address4 web)
client=$(address4 client)
web6=$(address6 web)
client6=$(address6 client)

link=$(in_container client ip -details link show dev eth0)
if [[ $mode == netkit ]]; then
    contains "eth0 is a netkit device in L3 mode" 'netkit mode l3' "$link"
    contains "it has no ARP" 'NOARP' "$link"
    contains "its peer's policy is blackhole" 'peer policy blackhole|policy blackhole' "$link"
fi
contains "its address is a host prefix" " $client/32 " "$(in_container client ip -4 address show dev eth0)"
contains "its default route goes to the gateway" 'default via 10.77.0.1 dev eth0' "$(in_container client ip route)"
contains "so is its IPv6 address" " $client6/128 .*nodad" "$(in_container client ip -6 address show dev eth0)"
contains "which has a default route too" 'default via fd6e:6b64::1 dev eth0' "$(in_container client ip -6 route)"
lacks "no link-local address appears" 'fe80' "$(in_container client ip -6 address show dev eth0)"
contains "bpftool shows the programs" 'netkit_peer|veth_ingress' "$(bpftool net show)"
contains "bpftool shows the uplink's program" 'uplink_ingress' "$(bpftool net show dev up0)"

check "the gateway answers ping" in_container client ping -c 1 -W 10 10.77.0.1
check "a container answers a container's ping" in_container client ping -c 1 -W 10 "$web"
equals "a page from container to container" 'hello from web' \
    "$(podman exec client wget -q -T 20 -O - "http://$web:8080/")"
check "a container answers the host's ping" ping -c 1 -W 10 "$web"
equals "a page from container to host" 'hello from web' "$(busybox wget -q -T 20 -O - "http://$web:8080/")"
check "the gateway answers ping, IPv6" in_container client ping -c 1 -W 10 fd6e:6b64::1
check "a container answers a container's ping, IPv6" in_container client ping -c 1 -W 10 "$web6"
equals "a page from container to container, IPv6" 'hello from web' \
    "$(podman exec client wget -q -T 20 -O - "http://[$web6]:8080/")"
check "a container answers the host's ping, IPv6" ping -c 1 -W 10 "$web6"
equals "a page from container to host, IPv6" 'hello from web' "$(busybox wget -q -T 20 -O - "http://[$web6]:8080/")"
mirror_up 9
wait_for 10 bash -c 'ss -ltn | grep -q :9'
equals "the host sees the container's own address" "$client" \
    "$(in_container client socat -T 20 - TCP:"$node4":9,shut-none </dev/null)"

equals "a page by a published port" 'hello from web' "$(outside busybox wget -q -T 20 -O - "http://$node4:8088/")"
contains "the container sees the real client" "$outside4" "$(podman logs web 2>&1)"
equals "a page by a published port, IPv6" 'hello from web' "$(outside busybox wget -q -T 20 -O - "http://[$node6]:8088/")"
contains "the container sees the real client, IPv6" '2001:db8:1::2' "$(podman logs web 2>&1)"
for place in "127.0.0.1" "[::1]" "localhost" "$node4" "[$node6]"; do
    equals "a page by a published port, from the host by $place" 'hello from web' \
        "$(busybox wget -q -T 20 -O - "http://$place:8088/")"
done
equals "a page by a published port, from another container" 'hello from web' \
    "$(podman exec client wget -q -T 20 -O - "http://$node4:8088/")"
equals "a page by a published port, from the container itself" 'hello from web' \
    "$(podman exec web wget -q -T 20 -O - "http://$node4:8088/")"
# shellcheck disable=SC2016 # its own shell expands it
background nsenter --net="/proc/$(pid_of web)/ns/net" socat UDP-RECVFROM:7,fork 'SYSTEM:read line; echo $SOCAT_PEERADDR'
wait_for 10 in_container web bash -c 'ss -lun | grep -q :7'
equals "a published port answers a container's socket that is not connected, which it sees" "$client" \
    "$(in_container client bash -c "echo hello | socat -T 20 - UDP4-SENDTO:$node4:8089,shut-none | head -n 1")"
kill "${background_pids[-1]}" # it would keep the container's network
unset 'background_pids[-1]'
contains "the port list has it" 'any +8088 +tcp +8080 +[0-9a-f]{12}' "$(netkitctl port list)"
container again --annotation 'io.netkitd.publish=8090:8080;hold=30' -- httpd -f -p 8080 -h / >/dev/null
# shellcheck disable=SC2317,SC2329 # called by name
come() {
    until [[ -e $scratch/restarted ]]; do
        outside socat -T 20 /dev/null TCP:"$node4":8090 || true
    done 2>>"$scratch/come"
}
for _ in 1 2 3 4; do
    come &
    comers+=($!)
done
podman restart --time 0 again >/dev/null
touch "$scratch/restarted"
wait "${comers[@]}"
# A connection that the server had when it was killed is reset, as on any host. And a SYN may come just when the server
# closes: after the program has found its socket, before the container's stack looks for it. Without hold there are
# hundreds.
refusals=$(grep -c 'Connection refused' "$scratch/come" || true)
check "with hold nobody is refused while a container starts again ($refusals)" test "$refusals" -le 1
lacks "nor left waiting for ever" 'timed out' "$(cat "$scratch/come")"
contains "but kept waiting" '^[1-9]' "$(counter held)"
podman rm --force --time 0 again >/dev/null

refused "a port that another container has" 126 container other --annotation io.netkitd.publish=8088:80 -- true

check "the outside host answers a container's ping" in_container client ping -c 2 -W 10 "$far4"
equals "a page from outside, by TCP" 'hello from outside' \
    "$(podman exec client wget -q -T 20 -O - "http://$far4/")"
equals "the outside host sees the node's address by TCP" "$node4" \
    "$(in_container client socat -T 20 - TCP:"$far4":7,shut-none </dev/null)"
equals "the outside host sees the node's address by UDP" "$node4" \
    "$(seen_by_udp client "$outside4")"
contains "the flows are listed" "udp.*$client.*$outside4" "$(netkitctl flow list)"

check "the outside host answers a container's ping, IPv6" in_container client ping -c 2 -W 10 "$far6"
equals "a page from outside, by TCP over IPv6" 'hello from outside' \
    "$(podman exec client wget -q -T 20 -O - "http://[$far6]/")"
equals "the outside host sees the node's IPv6 address by TCP" "$node6_as_socat_writes_it" \
    "$(in_container client socat -T 20 - TCP6:"[$far6]":7,shut-none </dev/null)"
equals "and by UDP" "$node6_as_socat_writes_it" \
    "$(seen_by_udp client "$outside6")"
contains "the IPv6 flows are listed" "udp.*$client6.*$outside6" "$(netkitctl flow list)"
contains "and pings" "icmpv6.*$client6.*$far6" "$(netkitctl flow list)"
equals "nothing that the containers sent by themselves looked spoofed" 0 "$(counter spoofed-source)"

equals "endpoint list names both containers" 2 "$(netkitctl endpoint list --json | jq '.endpoints | length')"
contains "endpoint show has the address" "$web" "$(netkitctl endpoint show "$(podman inspect --format '{{.Id}}' web)")"

# How the file comes there depends on the kernel; all about names is in names.sh.
contains "its /etc/resolv.conf has the node's name server" '^nameserver 192.0.2.53$' \
    "$(podman exec client cat /etc/resolv.conf)"

# crun sets a container's sysctls before the hook, runc after it.
container v4only --sysctl net.ipv6.conf.all.disable_ipv6=1 -- sleep 1000 >/dev/null
lacks "a container that turned IPv6 off has none" 'inet6' "$(in_container v4only ip -6 address show dev eth0)"
check "and has IPv4" in_container v4only ping -c 1 -W 10 "$far4"

podman rm --force --time 0 web client v4only >/dev/null
check "removing the containers frees everything" wait_for 60 no_endpoints
lacks "no pair is left" ' nk[0-9a-f]{8}' "$(ip -o link)"
equals "no netfilter rule was made" '' "$(nft list ruleset)"
