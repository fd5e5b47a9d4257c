#!/bin/bash
# Uplinks that are no plain card: a VLAN, a bond, a wireguard tunnel. Containers reach the outside by them and are seen
# with the node's address, nobody unasked gets in, and the packets' sizes are those of all that the way out passes.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

for module in 8021q bonding wireguard; do
    if ! modprobe "$module" 2>"$scratch/modprobe"; then
        # The VM's kernels have them all.
        if [[ -n ${NETKITD_VM:-} ]]; then
            fail "this kernel has $module" "$(<"$scratch/modprobe")"
            exit 1
        fi
        printf 'skipped: this kernel has no %s: %s\n' "$module" "$(<"$scratch/modprobe")"
        exit 77
    fi
done

# sees TCP-ADDRESS UDP-ADDRESS: whom the outside host saw. By UDP it answers with the address of its interface.
sees() {
    in_container web socat -T 20 - "TCP:$1:7,shut-none" </dev/null
    seen_by_udp web "$2"
}

# outside_sees_the_node WHERE
outside_sees_the_node() {
    mirror_up 7 outside
    check "$1: the outside listens" wait_for 20 bash -c 'ip netns exec outside ss -Hlnt "sport = 7" | grep -q .'
    equals "$1: the outside sees the node" "$node4 $node4" "$(sees "$far4" "$outside4" | xargs)"
    equals "$1: over IPv6 too" "$node6_as_socat_writes_it $node6_as_socat_writes_it" \
        "$(sees "[$far6]" "$outside6" | xargs)"
}

# nobody_gets_in WHERE OUTSIDE-DEVICE: by a route of the attacker's.
nobody_gets_in() {
    local before
    before=$(counter unsolicited)
    outside ip route add 10.77.0.0/16 via "$node4" dev "$2"
    outside ip -6 route add fd6e:6b64::/64 via "$node6" dev "$2"
    refused "$1: unsolicited ping gets no answer" 1 outside ping -c 1 -W 2 "$(address4 web)"
    refused "$1: over IPv6 neither" 1 outside ping -c 1 -W 2 "$(address6 web)"
    check "$1: and is counted by name" test "$(counter unsolicited)" -ge $((before + 2))
    outside ip route del 10.77.0.0/16
    outside ip -6 route del fd6e:6b64::/64
}

# sizes DEVICE…: the largest packet of TCP that each makes.
sizes() {
    local device
    for device; do
        ip -details -json link show "$device" | jq .[0].gso_max_size
    done | xargs
}

# begin_uplink WHERE DEVICE: the daemon takes it, and a container gets out by it.
begin_uplink() {
    daemon_start
    container web -- sleep 1000 >/dev/null
    contains "$1: status names it" "^ *${2//./\\.} " "$(netkitctl status)"
    check "$1: ping" in_container web ping -c 1 -W 10 "$far4"
    check "$1: ping over IPv6" in_container web ping -c 1 -W 10 "$far6"
}

# end_uplink WHERE: what the next one begins from.
end_uplink() {
    podman rm --force --time 0 web >/dev/null
    daemon_stop
    check "$1: purged" netkitd --purge --force
    kill "${background_pids[@]}"
    background_pids=()
}

image_ready
outside_up

wire trunk trunk
ip link add link trunk name up0.7 type vlan id 7
outside ip link add link trunk name out0.7 type vlan id 7
no_dad up0.7
ip link set up0.7 up
outside ip link set out0.7 up
addresses_up up0.7 out0.7
begin_uplink "a VLAN" up0.7
outside_sees_the_node "a VLAN"
nobody_gets_in "a VLAN" out0.7
# The same neighbour, past the VLAN.
ip address add 203.0.113.1/24 dev trunk
outside ip address add 203.0.113.2/24 dev trunk
check "below a VLAN: the host is reached" outside ping -c 3 -W 10 203.0.113.1
before=$(counter unsolicited)
outside ip route add 10.77.0.0/16 via 203.0.113.1 dev trunk
sysctl -qw net.ipv4.ip_forward=1
refused "below a VLAN: unsolicited ping gets no answer" 1 outside ping -c 1 -W 2 "$(address4 web)"
check "below a VLAN: and is counted by name" test "$(counter unsolicited)" -gt "$before"
equals "a VLAN: BIG TCP on it and below" "196608 196608" "$(sizes up0.7 trunk)"
end_uplink "a VLAN"
equals "a VLAN: as before" "65536 65536" "$(sizes up0.7 trunk)"
ip link delete trunk

for side in node outside; do
    on=()
    [[ $side == node ]] || on=(outside)
    "${on[@]}" ip link add bond0 type bond mode active-backup miimon 50 fail_over_mac active
done
for number in 1 2; do
    wire "card$number" "port$number"
    ip link set "card$number" down
    ip link set "card$number" master bond0
    outside ip link set "port$number" down
    outside ip link set "port$number" master bond0
done
no_dad bond0
ip link set bond0 up
outside ip link set bond0 up
addresses_up bond0 bond0
begin_uplink "a bond" bond0
outside_sees_the_node "a bond"
nobody_gets_in "a bond" bond0
equals "a bond: BIG TCP on it and on its parts" "196608 196608 196608" "$(sizes bond0 card1 card2)"
active=$(</sys/class/net/bond0/bonding/active_slave)
ip link set "$active" down
check "a bond: goes on by its other part" wait_for 20 in_container web ping -c 1 -W 1 "$far4"
check "a bond: over IPv6 too" wait_for 20 in_container web ping -c 1 -W 1 "$far6"
end_uplink "a bond"
equals "a bond: as before" "65536 65536 65536" "$(sizes bond0 card1 card2)"
ip link delete bond0
outside ip link delete bond0

wire under under
ip address add 203.0.113.1/24 dev under
outside ip address add 203.0.113.2/24 dev under
wg genkey >"$scratch/node.key"
wg genkey >"$scratch/outside.key"
# tunnel KEY PEER-KEY PEER-ADDRESS: what to type on one side.
tunnel() {
    printf 'ip link add wg0 type wireguard; wg set wg0 listen-port 51820 private-key %q peer %q %s endpoint %s:51820; ' \
        "$1" "$(wg pubkey <"$2")" 'allowed-ips 0.0.0.0/0,::/0' "$3"
    printf 'ip link set wg0 up'
}
bash -c "$(tunnel "$scratch/node.key" "$scratch/outside.key" 203.0.113.2)"
outside bash -c "$(tunnel "$scratch/outside.key" "$scratch/node.key" 203.0.113.1)"
addresses_up wg0 wg0
begin_uplink "wireguard" wg0
check "wireguard: ping in fragments" in_container web ping -c 1 -W 10 -s 4000 "$far4"
check "wireguard: over IPv6 too" in_container web ping -c 1 -W 10 -s 4000 "$far6"
outside_sees_the_node "wireguard"
nobody_gets_in "wireguard" wg0
check "wireguard: the host is reached" outside ping -c 1 -W 10 "$node4"
background outside busybox httpd -f -p 80 -h /usr/share/netkitd-test
equals "wireguard: a file of some megabytes comes through" "$(sha256sum <"$image_tar")" \
    "$(in_container web curl -sf -m 120 "http://$far4/image.tar" | sha256sum)"
end_uplink "wireguard"
ip link delete wg0
