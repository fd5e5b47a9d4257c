#!/bin/bash
# What must not get in or out: unasked packets from outside, spoofed sources, untranslated sources; and that nobody
# else's firewall matters to containers.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

node_up
container web --annotation io.netkitd.ipv4=10.77.0.50 --annotation io.netkitd.ipv6=fd6e:6b64::50 -- httpd -f -p 8080 -h / >/dev/null
pid=$(pid_of web)
in_web() { nsenter --net="/proc/$pid/ns/net" -- "$@"; }

# An attacker on the uplink's wire who holds a route, on a host that forwards.
sysctl -qw net.ipv4.ip_forward=1
outside ip route add 10.77.0.0/16 via "$node4"
outside ip -6 route add fd6e:6b64::/64 via "$node6"
before=$(counter unsolicited)
refused "unsolicited ping from outside gets no answer" 1 outside ping -c 2 -W 2 10.77.0.50
refused "unsolicited TCP from outside does not connect" 1 outside socat -T 2 - TCP:10.77.0.50:8080,connect-timeout=2 </dev/null
refused "the gateway's address does not answer outside" 1 outside ping -c 1 -W 2 10.77.0.1
check "each is counted by name" test "$(counter unsolicited)" -ge $((before + 4))
before=$(counter unsolicited)
refused "unsolicited ping over IPv6 gets no answer" 1 outside ping -c 2 -W 2 fd6e:6b64::50
refused "unsolicited TCP over IPv6 does not connect" 1 \
    outside socat -T 2 - 'TCP6:[fd6e:6b64::50]:8080,connect-timeout=2' </dev/null
refused "the gateway's IPv6 address does not answer outside" 1 outside ping -c 1 -W 2 fd6e:6b64::1
check "each is counted by name too" test "$(counter unsolicited)" -ge $((before + 4))
outside ip route delete 10.77.0.0/16 via "$node4"
outside ip -6 route delete fd6e:6b64::/64 via "$node6"
sysctl -qw net.ipv4.ip_forward=0
sysctl -qw net.ipv6.conf.all.forwarding=0
# ip_forward=0 turns forwarding off on every device, netkitd0 too: the daemon turns it on again there.
check "that ip_forward is turned off is repaired" wait_for 20 in_web ping -c 1 -W 1 "$far4"
check "that IPv6 forwarding is turned off is repaired" wait_for 20 in_web ping -c 1 -W 1 "$far6"

in_web ip address add 10.77.0.66/32 dev eth0
before=$(counter spoofed-source)
refused "a spoofed source gets no answer" 1 in_web ping -c 2 -W 2 -I 10.77.0.66 "$far4"
refused "not from the host either" 1 in_web ping -c 1 -W 2 -I 10.77.0.66 10.77.0.1
check "it is counted by name" test "$(counter spoofed-source)" -ge $((before + 3))
contains "status names the drop" 'spoofed-source' "$(netkitctl status)"
in_web ip address delete 10.77.0.66/32 dev eth0
in_web ip address add fd6e:6b64::66/128 dev eth0 nodad
before=$(counter spoofed-source)
refused "a spoofed IPv6 source gets no answer" 1 in_web ping -c 2 -W 2 -I fd6e:6b64::66 "$far6"
refused "not from the host either" 1 in_web ping -c 1 -W 2 -I fd6e:6b64::66 fd6e:6b64::1
check "it is counted by name too" test "$(counter spoofed-source)" -ge $((before + 3))
in_web ip address delete fd6e:6b64::66/128 dev eth0

# What leaves the uplink is recorded by the outside host: nothing with a container's address.
background outside tcpdump -n -U -i out0 -w "$scratch/wire.pcap" net 10.77.0.0/16 or net fd6e:6b64::/64
wait_for 30 grep -q listening "$scratch/background"
check "ping from a container" in_web ping -c 2 -W 10 "$far4"
check "ping in fragments" in_web ping -c 1 -W 10 -s 4000 "$far4"
in_web ping -c 1 -W 2 -t 1 "$far4" >/dev/null || :
check "ping from a container over IPv6" in_web ping -c 2 -W 10 "$far6"
check "ping in fragments over IPv6" in_web ping -c 1 -W 10 -s 4000 "$far6"
in_web ping -c 1 -W 2 -t 1 "$far6" >/dev/null || :
ip route add "$far4" via "$outside4" mtu lock 1300
handed_over() { in_web ping -c 1 -W 10 -M dont -s 1350 "$far4" && test "$(counter stack-fragments)" -gt 0; }
check "too big without DF is fragmented" wait_for 20 handed_over
ip route delete "$far4"
contains "traceroute shows the way" "^ *2  $far4 " "$(in_web busybox traceroute -n -w 10 -q 1 -m 3 "$far4" || :)"
# A next hop that is not known is the stack's to find: it has a copy of the packet, which must not leave.
# The outside may ask for the node's address, and be known by that, in between.
found_first() {
    local before
    before=$(counter neighbour-missing)
    ip neigh flush dev up0
    in_web ping -c 1 -W 10 "$1" && test "$(counter neighbour-missing)" -gt "$before"
}
check "ping by a next hop that is to be found first, which is counted by name" wait_for 20 found_first "$far4"
check "over IPv6 too" wait_for 20 found_first "$far6"
contains "of a neighbour that isn't there the stack tells" 'Unreachable' "$(in_web ping -c 1 -W 10 192.0.2.99 || :)"
contains "over IPv6 too" 'Address unreachable' "$(in_web ping -c 1 -W 10 2001:db8:1::99 || :)"
kill "${background_pids[-1]}"
wait "${background_pids[-1]}" || :
equals "nothing left with a container's address" '' "$(tcpdump -n -r "$scratch/wire.pcap" 2>/dev/null)"

# A configuration that does not have the container's network: the daemon does not start, and nothing is changed.
daemon_stop
echo '{"networks": {"default": {"ipv4": "10.90.0.0/16"}}}' >"$scratch/another.json"
refused "a start that would take the container's network away is refused" 1 netkitd --config "$scratch/another.json"
outside ip route add 10.77.0.0/16 via "$node4"
sysctl -qw net.ipv4.ip_forward=1
background nsenter --net="/proc/$pid/ns/net" -- tcpdump -n -U -i eth0 -w "$scratch/in.pcap" src "$outside4"
wait_for 30 grep -q listening "$scratch/background"
refused "nobody gets in" 1 outside ping -c 2 -W 2 10.77.0.50
kill "${background_pids[-1]}"
wait "${background_pids[-1]}" || :
equals "and nothing came in" '' "$(tcpdump -n -r "$scratch/in.pcap" 2>/dev/null)"
sysctl -qw net.ipv4.ip_forward=0
outside ip route delete 10.77.0.0/16 via "$node4"
lacks "nor is there anything of the network that was refused" '10\.90\.' "$(ip address; ip route)"
daemon_start

contains "a used-up TTL is answered by the stack" 'Time to live exceeded' "$(in_web ping -c 1 -W 10 -t 1 "$far4" || :)"
contains "so is a used-up hop limit" 'Time exceeded: Hop limit' "$(in_web ping -c 1 -W 10 -t 1 "$far6" || :)"
ip link set up0 mtu 1300
contains "too big with DF is answered by the stack" 'mtu = 1300|mtu=1300' \
    "$(in_web ping -c 2 -W 10 -M "do" -s 1350 "$far4" 2>&1 || :)"
contains "an IPv6 packet that is too big too" 'mtu=1300' "$(in_web ping -c 2 -W 10 -M "do" -s 1350 "$far6" 2>&1 || :)"
ip link set up0 mtu 1500
ip route add unreachable 203.0.113.0/24
contains "an unreachable route is answered by the stack" 'Unreachable' "$(in_web ping -c 1 -W 10 203.0.113.9 || :)"
ip route delete unreachable 203.0.113.0/24
ip -6 route add unreachable 2001:db8:dead::/48
contains "an unreachable IPv6 route too" 'unreachable|No route' "$(in_web ping -c 1 -W 10 2001:db8:dead::9 || :)"
ip -6 route delete unreachable 2001:db8:dead::/48

nft flush ruleset
check "nft flush ruleset changes nothing" in_web ping -c 1 -W 10 "$far4"
nft 'table ip filter { chain forward { type filter hook forward priority 0; policy drop; }; }'
nft 'table ip6 filter { chain forward { type filter hook forward priority 0; policy drop; }; }'
check "a FORWARD policy of drop changes nothing" in_web ping -c 1 -W 10 "$far4"
check "nor for IPv6" in_web ping -c 1 -W 10 "$far6"
contains "nor for the answers of the stack" 'Time to live exceeded' "$(in_web ping -c 1 -W 10 -t 1 "$far4" || :)"
nft flush ruleset
