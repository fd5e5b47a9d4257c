#!/bin/bash
# The host comes first: netkitd takes no addresses and ports that the host has a use for, before and after its start, and
# refuses by name what would hurt it.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

uplink_up
image_ready
echo '{}' >"$scratch/netkitd.json"

# with_network TEXT: a configuration with it.
with_network() {
    printf '{"networks": {%s}}\n' "$1" >"$scratch/netkitd.json"
}

gone() {
    podman rm --all --force --time 0 >/dev/null
    wait_for 60 no_endpoints
}

# addresses_again: those of IPv6, which the kernel removes with disable_ipv6.
addresses_again() {
    ip address add "$node6/64" dev up0 nodad
    ip -6 route add default via "$outside6" dev up0
}

# default_prefix: that the network `default` has.
default_prefix() {
    netkitctl status --json | jq -r '.networks[] | select(.name == "default") | .ipv4'
}

# refuses NAME PATTERN…: the daemon does not start, and says why.
refuses() {
    local name=$1
    shift
    refused "$name" 1 timeout 60 netkitd --config "$scratch/netkitd.json"
    local pattern
    for pattern; do
        contains "and says $pattern" "$pattern" "$(<"$scratch/output")"
    done
}

# --- kernels -------------------------------------------------------------------------------------------------------------

# A real-time kernel, as far as a process can see.
realtime() {
    # shellcheck disable=SC2016 # its own shell expands it
    unshare --mount bash -c 'mount -t tmpfs tmpfs /sys/kernel && echo 1 >/sys/kernel/realtime && exec "$@"' - "$@"
}
refused "a real-time kernel is refused" 1 realtime timeout 60 netkitd --config "$scratch/netkitd.json"
contains "and why" 'real-time.*/sys/kernel/realtime is 1.*without PREEMPT_RT' "$(<"$scratch/output")"

# --- what the host has before ------------------------------------------------------------------------------------------

# A neighbour on a LAN in the middle of the usual prefix, and the LAN's router.
ip netns add lan
ip link add lan0 type veth peer name eth0 netns lan
ip address add 10.77.5.5/24 dev lan0
ip link set lan0 up
ip netns exec lan ip address add 10.77.5.9/24 dev eth0
ip netns exec lan ip link set eth0 up
daemon_start
equals "the default network is where the host has no use for the prefix" 10.177.0.0/16 "$(default_prefix)"
check "the host reaches its LAN" ping -c 1 -W 10 10.77.5.9
lacks "nothing of that is a warning" 'overlaps' "$(netkitctl status)"
container web -- sleep 1000 >/dev/null
check "a container reaches the outside" in_container web ping -c 1 -W 10 "$far4"
check "and the host's address there" in_container web ping -c 1 -W 10 10.77.5.5
ip link delete lan0
daemon_stop
daemon_start
equals "it stays there while it has containers" 10.177.0.0/16 "$(default_prefix)"
gone
daemon_stop
ip route add 10.0.0.0/8 via "$outside4"
daemon_start
equals "a company's route is left alone" 172.30.0.0/16 "$(default_prefix)"
daemon_stop
ip route delete 10.0.0.0/8

with_network '"web": {"ipv4": "192.0.2.0/24"}'
sed -i 's,192.0.2.0/24,198.18.0.0/16,' "$scratch/netkitd.json"
ip address add 198.18.5.5/24 dev up0
refuses "a configured prefix that would cut the host off" \
    'networks.web.ipv4: 198.18.0.0/16 overlaps the address 198.18.5.5 on up0' 'another prefix'
ip address delete 198.18.5.5/24 dev up0
daemon_start --config "$scratch/netkitd.json"
ip address add 198.18.5.5/24 dev up0
with_network '"web": {"ipv4": "198.18.0.0/17"}'
kill -HUP "$daemon_pid"
check "so does a reload, which changes nothing" wait_for 100 grep -q '198.18.0.0/17 overlaps' "$daemon_log"
equals "the networks are as before" 198.18.0.0/16 \
    "$(netkitctl status --json | jq -r '.networks[] | select(.name == "web") | .ipv4')"
check "what came later is named" wait_for 100 bash -c \
    "netkitctl status | grep -q 'network web: its prefix 198.18.0.0/16 overlaps the address 198.18.5.5'"
ip address delete 198.18.5.5/24 dev up0
daemon_stop

# --- what it gets later ------------------------------------------------------------------------------------------------

daemon_start
container web -- sleep 1000 >/dev/null
equals "the usual prefix" 10.77.0.0/16 "$(default_prefix)"
# The uplink gets an address of the containers' prefix, and a host beyond it (a VPN, another DHCP server).
ip address add 10.77.5.5/24 dev up0
outside ip address add 10.77.5.9/24 dev out0
check "an address that comes later is named" wait_for 100 bash -c "netkitctl status | grep -q 'overlaps the address 10.77.5.5'"
check "the host reaches what is there" ping -c 1 -W 10 10.77.5.9
check "and is reached" outside ping -c 1 -W 10 10.77.5.5
check "a container reaches it too" in_container web ping -c 1 -W 10 10.77.5.9
check "and the outside as before" in_container web ping -c 1 -W 10 "$far4"
# A router's worth of single routes: there is room for 256, and the host's own addresses go first.
many_routes() {
    local i
    for ((i = 0; i < 300; i++)); do
        printf 'route %s 10.77.%d.%d via %s\n' "$1" $((100 + i / 200)) $((1 + i % 200)) "$outside4"
    done | ip -batch -
}
many_routes add
check "more of the host's than there is room for is named" \
    wait_for 100 bash -c "netkitctl status | grep -q 'to more than 256 prefixes in those of the networks: 46 of them'"
check "the host's address goes on" outside ping -c 1 -W 10 10.77.5.5
check "so does what is there" in_container web ping -c 1 -W 10 10.77.5.9
many_routes delete
refused "no container gets such an address" 126 container mine --annotation io.netkitd.ipv4=10.77.5.7 -- true
contains "by name" "10.77.5.7 is this host's own, or in 10.77.5.0/24" "$(netkitctl status)"
daemon_stop
check "also while no daemon runs" ping -c 1 -W 10 10.77.5.9
check "the host is reached" outside ping -c 1 -W 10 10.77.5.5
daemon_start
check "a restart keeps the container" in_container web ping -c 1 -W 10 "$far4"
outside ip address delete 10.77.5.9/24 dev out0
ip address delete 10.77.5.5/24 dev up0
check "when it is gone, so is the warning" wait_for 100 bash -c "! netkitctl status | grep -q 'overlaps the address'"
gone
daemon_stop
netkitd --purge >/dev/null

# A LAN that is there later, with its router where the gateway is. Its devices are gone with the namespace.
lan_up() {
    ip netns add lan-router
    ip link add lan20 type veth peer name lan21 netns lan-router
    ip -n lan-router address add 10.77.0.1/16 dev lan21
    ip -n lan-router link set lan21 up
    ip link set lan20 up
    ip address add 10.77.9.9/16 dev lan20
}
daemon_start
equals "the usual prefix, without containers" 10.77.0.0/16 "$(default_prefix)"
lan_up
check "it is left to the LAN at once" wait_for 100 bash -c "netkitctl status | grep -q '10.177.0.0/16'"
check "the host reaches its router there" ping -c 1 -W 10 10.77.0.1
ip netns delete lan-router
check "when the LAN is gone, it is the usual one again" wait_for 100 bash -c "netkitctl status | grep -q '10.77.0.0/16'"
container web -- sleep 1000 >/dev/null
lan_up
check "with containers the prefix stays, and the gateway is left to the LAN" \
    wait_for 100 bash -c "netkitctl status | grep -q 'the gateway 10.77.0.1 lies on a link of this host'"
check "the host reaches its router" ping -c 1 -W 10 10.77.0.1
check "the container the outside" in_container web ping -c 1 -W 10 "$far4"
ip netns delete lan-router
check "afterwards the gateway answers again" wait_for 100 in_container web ping -c 1 -W 1 10.77.0.1
gone
daemon_stop

# --- limits: what netd/README.md says of them is so -------------------------------------------------------------------------

daemon_start
container web -- sleep 1000 >/dev/null
container db -- sleep 1000 >/dev/null
background socat UDP4-RECVFROM:5353,fork SYSTEM:'echo here'
wait_for 10 bash -c 'ss -lun | grep -q :5353'
ask_by_udp() {
    in_container web timeout 5 socat -T 2 - "UDP4:$1:5353" <<<hello || :
}
equals "a UDP service on 0.0.0.0 answers who asks the gateway" here "$(ask_by_udp 10.77.0.1)"
equals "and by that address whoever asks another" '' "$(ask_by_udp "$node4")"
# hears DEVICE [ENTER…]: a member of the group there, until the test ends.
hears() {
    local device=$1
    shift
    "$@" socat -u "UDP4-RECV:5000,reuseaddr,ip-add-membership=239.1.1.1:$device" "CREATE:$scratch/heard.$device.$#" &
    background_pids+=($!)
}
hears netkitd0
hears eth0 nsenter --net="/proc/$(pid_of db)/ns/net" --
say_to_the_group() {
    in_container web socat -u - UDP4-DATAGRAM:239.1.1.1:5000 <<<hello
    grep -q hello "$scratch/heard.netkitd0.0"
}
check "the host receives a container's multicast" wait_for 20 say_to_the_group
equals "no other container does" '' "$(cat "$scratch/heard.eth0.3")"
kill "${background_pids[@]: -2}"
gone
daemon_stop

# --- ports --------------------------------------------------------------------------------------------------------------

range=$(sysctl -n net.ipv4.ip_local_port_range)
sysctl -qw net.ipv4.ip_local_port_range='49152 65535'
mirror_up 7 outside
daemon_start
contains "the pool leaves the host some of its ports" 'ports 53248-65535' "$(netkitctl status)"
check "the host's own connections work" wait_for 20 socat -T 5 - TCP:"$far4":7,shut-none
container web -- sleep 1000 >/dev/null
equals "and the containers'" "$node4" "$(in_container web socat -T 20 - TCP:"$far4":7,shut-none </dev/null)"
gone
daemon_stop
echo '{"masquerade": {"ports": "49152-65535"}}' >"$scratch/netkitd.json"
refuses "a configured pool that leaves it none" 'masquerade.ports 49152-65535 would leave this host 0 ports' \
    'choose other ports'
sysctl -qw net.ipv4.ip_local_port_range="$range"
sysctl -qw net.ipv4.ip_local_reserved_ports=8080
netkitd --purge >/dev/null
equals "--purge leaves what the administrator reserved since" 8080 "$(sysctl -n net.ipv4.ip_local_reserved_ports)"
rm "$scratch/netkitd.json"
daemon_start
daemon_stop
netkitd --purge >/dev/null
equals "and no port of netkitd's" 8080 "$(sysctl -n net.ipv4.ip_local_reserved_ports)"
sysctl -qw net.ipv4.ip_local_reserved_ports=

# --- no IPv6 ------------------------------------------------------------------------------------------------------------

sysctl -qw net.ipv6.conf.all.disable_ipv6=1
daemon_start
container web -- sleep 1000 >/dev/null
check "a host without IPv6: a container reaches the outside" in_container web ping -c 1 -W 10 "$far4"
lacks "status has nothing of IPv6" 'IPv6|fd6e|6 +[0-9]+ .*%' "$(netkitctl status | grep -v 'disable_ipv6')"
gone
daemon_stop
netkitd --purge >/dev/null
sysctl -qw net.ipv6.conf.all.disable_ipv6=0
addresses_again

daemon_start
sysctl -qw net.ipv4.ip_local_port_range='50000 60000'
connects() {
    socat -T 5 - "TCP:$far4:7,shut-none" </dev/null >/dev/null
}
check "a range of ports that the host gets later is left to it too, within a minute" wait_for 90 connects
sysctl -qw net.ipv4.ip_local_port_range="$range"
daemon_stop

# --- a container's own settings -----------------------------------------------------------------------------------------

daemon_start
container ranged --sysctl net.ipv4.ip_local_port_range='20000 20100' -- sleep 1000 >/dev/null
equals "a range of ports that the user gave stays" '20000 20100' \
    "$(podman exec ranged cat /proc/sys/net/ipv4/ip_local_port_range | tr '\t' ' ')"
equals "and works" "$node4" "$(in_container ranged socat -T 20 - TCP:"$far4":7,shut-none </dev/null)"
for runtime in crun runc; do
    bundle "$scratch/$runtime" "$runtime-1" sleep 1000
    jq '.linux.sysctl = {"net.ipv4.ip_local_port_range": "20000 20100"}' "$scratch/$runtime/config.json" \
        >"$scratch/config.json"
    mv "$scratch/config.json" "$scratch/$runtime/config.json"
    "$runtime" run --detach --bundle "$scratch/$runtime" "$runtime-1" </dev/null
    pid=$("$runtime" state "$runtime-1" | jq .pid)
    equals "so it does with $runtime" '20000 20100' \
        "$("$runtime" exec "$runtime-1" cat /proc/sys/net/ipv4/ip_local_port_range | tr '\t' ' ')"
    equals "and works" "$node4" \
        "$(nsenter --net="/proc/$pid/ns/net" -- socat -T 20 - TCP:"$far4":7,shut-none </dev/null)"
    "$runtime" delete --force "$runtime-1"
done

# state NAMESPACE: what an attach may change there.
state() {
    ip netns exec "$1" sysctl -a --pattern '^net\.ipv[46]\.(ip_local|conf\.(all|default|lo))' 2>/dev/null
    ip netns exec "$1" ip -brief link show lo
    ip netns exec "$1" ip route show table all
    ip netns exec "$1" ip -6 route show table all
}
ip netns add mine
state mine >"$scratch/before"
netkitctl attach --id mine --netns /run/netns/mine >/dev/null
check "a namespace that was attached by hand" ip netns exec mine ping -c 1 -W 10 "$far4"
netkitctl detach --id mine >/dev/null
check "is as it was after detach" wait_for 50 bash -c "$(declare -f state); state mine | diff '$scratch/before' - >'$scratch/difference'"
[[ ! -s $scratch/difference ]] || cat "$scratch/difference"
ip netns delete mine

# CVE-2020-8558: with route_localnet the host takes what comes for 127.0.0.1 as its own.
mirror_up 9
sysctl -qw net.ipv4.conf.all.route_localnet=1
container probe --sysctl net.ipv4.conf.all.route_localnet=1 -- sleep 1000 >/dev/null
in_container probe ip route delete local 127.0.0.0/8 table local 2>/dev/null || :
in_container probe ip address delete 127.0.0.1/8 dev lo
in_container probe ip route add 127.0.0.1/32 via 10.77.0.1 src "$(address4 probe)"
equals "a service on the host's loopback is not reached" '' \
    "$(in_container probe timeout 2 socat -T 2 - TCP:127.0.0.1:9,shut-none </dev/null 2>/dev/null || :)"
check "that is dropped by name" test "$(counter loopback)" -gt 0
sysctl -qw net.ipv4.conf.all.route_localnet=0

gone
ip netns delete lan
verdict
