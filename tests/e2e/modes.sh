#!/bin/bash
# The three device modes on one node: every container reaches every other, the host and the outside, whatever its device
# is; and what a container with Ethernet addresses asks its link is answered by the programs.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

modes=(netkit netkit-l2 veth)
declare -A v4 v6 host_end
node_up
background outside busybox httpd -f -p 8080 -h /etc
for mode in "${modes[@]}"; do
    container "$mode" --annotation "io.netkitd.device-mode=$mode" -- httpd -f -p 8080 -h /etc >/dev/null
    v4[$mode]=$(address4 "$mode") v6[$mode]=$(address6 "$mode")
    host_end[$mode]=$(host_interface "$mode")
done

contains "netkit is in L3 mode" 'netkit mode l3' "$(in_container netkit ip -details link show eth0)"
contains "netkit-l2 in L2 mode" 'netkit mode l2' "$(in_container netkit-l2 ip -details link show eth0)"
equals "with an address that was set (NET_ADDR_SET), which systemd leaves alone" 3 \
    "$(cat "/sys/class/net/${host_end[netkit-l2]}/addr_assign_type")"
contains "veth is veth" 'veth' "$(in_container veth ip -details link show eth0)"

# fetches FROM ADDRESS: a page of 8080 there, by a container or by the host.
fetches() {
    in_container "$1" busybox wget -q -T 30 -O /dev/null "http://$2:8080/passwd"
}

for from in "${modes[@]}"; do
    for to in "${modes[@]}"; do
        [[ $from != "$to" ]] || continue
        check "$from pings $to" in_container "$from" ping -c 1 -W 10 "${v4[$to]}"
        check "$from pings $to over IPv6" in_container "$from" ping -c 1 -W 10 "${v6[$to]}"
        check "$from fetches from $to" fetches "$from" "${v4[$to]}"
        check "$from fetches from $to over IPv6" fetches "$from" "[${v6[$to]}]"
    done
    check "$from fetches from outside" fetches "$from" "$far4"
    check "$from fetches from outside over IPv6" fetches "$from" "[$far6]"
    check "$from pings the gateway" in_container "$from" ping -c 1 -W 10 10.77.0.1
    check "$from pings the gateway over IPv6" in_container "$from" ping -c 1 -W 10 fd6e:6b64::1
    check "the host pings $from" ping -c 1 -W 10 "${v4[$from]}"
    check "the host pings $from over IPv6" ping -c 1 -W 10 "${v6[$from]}"
done

# send MODE HEX: a frame, with the container's address as its source. That netkit drops it is the sender's error too.
send() {
    in_container "$1" python3 -c '
import errno, socket, sys
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", 0))
try:
    link.send(b"\xff" * 6 + link.getsockname()[4][:6].ljust(6, b"\0") + bytes.fromhex(sys.argv[1]))
except OSError as error:
    assert error.errno == errno.ENOBUFS' "$2"
}

for mode in netkit-l2 veth; do
    mac=$(<"/sys/class/net/${host_end[$mode]}/address")
    for gateway in 10.77.0.1 fd6e:6b64::1; do
        contains "$mode: $gateway is at the host end's address" "lladdr $mac" \
            "$(in_container "$mode" ip neigh show "$gateway")"
    done
    in_container "$mode" ip neigh flush dev eth0
    check "$mode: after a flush it asks again" in_container "$mode" ping -c 1 -W 10 "$far4"
    check "$mode: over IPv6 too" in_container "$mode" ping -c 1 -W 10 "$far6"
    contains "$mode: arping is answered for any address" "$mac" \
        "$(in_container "$mode" busybox arping -c 1 -w 10 -I eth0 "${v4[netkit]}" || :)"
    before=$(counter malformed)
    check "$mode: a malformed question is sent" send "$mode" "0806$(printf '00%.0s' {1..46})"
    check "$mode: and counted by name" test "$(counter malformed)" -gt "$before"
    before=$(counter link-scope)
    in_container "$mode" busybox arping -A -c 1 -w 3 -I eth0 "${v4[$mode]}" >/dev/null || :
    check "$mode: an announcement ends at the link, by name" test "$(counter link-scope)" -gt "$before"
done
for mode in "${modes[@]}"; do
    before=$(counter not-ip)
    check "$mode: a frame that is neither IP nor ARP is sent" send "$mode" "88cc$(printf '00%.0s' {1..46})"
    check "$mode: and counted by name" test "$(counter not-ip)" -gt "$before"
done
before=$(counter not-ip)
IFS=. read -ra octets <<<"${v4[netkit]}"
arp=08060001080006040001020000000001$(printf '%02x' "${octets[@]}")0000000000000a4d0001
check "netkit: ARP on a link without addresses is sent" send netkit "$arp$(printf '00%.0s' {1..18})"
check "netkit: and counted by name" test "$(counter not-ip)" -gt "$before"
