# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # set for tests/bench/guest, and by tests/commands/common.sh
# The paths that are compared, each set up from a freshly booted VM, which is thrown away afterwards: so that a row does
# not depend on the ones before it, and nothing has to be undone. Sourced by tests/bench/guest.
#
# All of them end at the same place: a host in the network namespace "outside", behind the wire up0 <-> out0. The node is
# the VM's own network namespace; "container" is another. A path_NAME function leaves the array `client` set to what
# runs a command where the traffic starts, and server4 and server6 to where it ends.

node4=192.0.2.1 outside4=192.0.2.2
node6=2001:db8:1::1 outside6=2001:db8:1::2
container4=10.88.0.2 container6=fd88::2
client=()
server4=$outside4 server6=$outside6 # RFC 5737, RFC 3849
# netserver's ports, of IPv4, of IPv6, and of what is measured, where that is to be known before.
control4=12865 control6=12866 data_port=
# Whether what is measured has to be at the server's address alone.
bound=

wire_up() {
    ip netns add outside
    ip link add up0 type veth peer name out0 netns outside
    ip address add "$node4/24" dev up0
    ip address add "$node6/64" dev up0 nodad
    ip link set up0 up
    ip -n outside address add "$outside4/24" dev out0
    ip -n outside address add "$outside6/64" dev out0 nodad
    ip -n outside link set lo up
    ip -n outside link set out0 up
    ip route add default via "$outside4" dev up0
    ip -6 route add default via "$outside6" dev up0
    serve ip netns exec outside
}

# serve [COMMAND…]: netserver, where COMMAND runs it.
serve() {
    "$@" netserver -4 -p $control4 >/dev/null
    "$@" netserver -6 -p $control6 >/dev/null
}

# The node and who is outside have a root of the cgroups each, as two machines have: what netkitd attaches is the node's.
two_machines() {
    local root=/sys/fs/cgroup
    mkdir "$root/node" "$root/outside" /run/outside
    mount --bind "$root/outside" /run/outside
    echo $$ >"$root/node/cgroup.procs"
    mount --bind "$root/node" "$root"
}

container_up() {
    ip netns add "$1"
    ip -n "$1" link set lo up
}

from_container() {
    client=(nsenter --net=/run/netns/container --)
}

path_host() {
    wire_up
}

# big_tcp DEVICE [OPTION-OF-IP…]: as netkitd sets it by default.
big_tcp() {
    ip "${@:2}" link set "$1" gso_max_size 196608 gro_max_size 196608 \
        gso_ipv4_max_size 196608 gro_ipv4_max_size 196608
}

path_host_bigtcp() {
    wire_up
    big_tcp up0
}

from_outside() {
    # shellcheck disable=SC2016 # that shell's own
    client=(sh -c 'echo $$ >/run/outside/cgroup.procs && exec "$@"' sh ip netns exec outside)
    server4=$node4 server6=$node6
}

# At its first address alone.
serve_on_host() {
    bound=yes
    netserver -4 -L "$node4" -p $control4 >/dev/null
    netserver -6 -L "$node6" -p $control6 >/dev/null
}

serve_on_loopback() {
    bound=yes server4=127.0.0.1 server6=::1 client=()
    netserver -4 -L "$server4" -p $control4 >/dev/null
    netserver -6 -L "$server6" -p $control6 >/dev/null
}

# The host as a server, for who is outside: what `published` is compared with.
path_host_serving() {
    data_port=20000
    two_machines
    wire_up
    serve
    from_outside
}

# At its first address alone: the kernel need not choose one for each datagram then.
path_host_serving_bound() {
    data_port=20000
    two_machines
    wire_up
    serve_on_host
    from_outside
}

# What any program on the uplink costs the host: host-with-netkitd can't be better.
path_host_with_nothing() {
    wire_up
    "$build/tree/tests/bench/two-lines" up0
}

# --- netkitd ------------------------------------------------------------------------------------------------------

daemon_up() {
    local until=$((SECONDS + 60))
    netkitd >/run/netkitd.log 2>&1 &
    until netkitctl status >/dev/null 2>&1; do
        if ((SECONDS > until)) || ! kill -0 $! 2>/dev/null; then
            cat /run/netkitd.log
            die "netkitd did not start"
        fi
        sleep 0.1
    done
}

# attach NAME [ANNOTATION…]: a container of netkitd's.
attach() {
    local name=$1 annotations=()
    shift
    printf -v annotations -- '--annotation %s ' io.netkitd.network=default "$@"
    container_up "$name"
    # shellcheck disable=SC2086,SC2128 # words
    netkitctl attach --id "$name" --netns "/run/netns/$name" $annotations >/dev/null
}

path_netkitd() {
    wire_up
    daemon_up
    attach container io.netkitd.device-mode=netkit
    from_container
}

# configure JSON: what netkitd will read.
configure() {
    mkdir -p /etc/netkitd
    echo "$1" >/etc/netkitd/netkitd.json
}

path_netkitd_bigtcp_off() {
    configure '{"big_tcp": false}'
    path_netkitd
}

path_netkitd_routed() {
    configure '{"masquerade": {"enabled": false}}'
    path_netkitd
    ip -n outside route add 10.77.0.0/16 via "$node4"
    ip -n outside -6 route add fd6e:6b64::/64 via "$node6"
}

path_netkitd_veth() {
    wire_up
    daemon_up
    attach container io.netkitd.device-mode=veth
    from_container
}

path_host_with_netkitd() {
    path_netkitd
    client=()
}

# published_ports [ADDRESS:]…: io.netkitd.publish for a netserver there.
published_ports() {
    local at port ports=
    for at; do
        for port in $control4 $control6 $data_port; do
            ports+=,$at$port:$port
        done
        ports+=,$at$data_port:$data_port/udp
    done
    echo "io.netkitd.publish=${ports:1}"
}

# A server in a container, for who is outside, by the host's address. publish_server [PORTS]: which has others, too.
publish_server() {
    data_port=20000
    two_machines
    wire_up
    daemon_up
    attach container io.netkitd.device-mode=netkit "$(published_ports '')${1:+,$1}"
    serve ip netns exec container
    from_outside
}

path_published() {
    publish_server
}

path_published_thousand() {
    publish_server 21000-21995:21000-21995
}

# The same on ports that a container publishes at another of its addresses.
path_host_serving_with_published() {
    data_port=20000
    two_machines
    wire_up
    ip address add 192.0.2.3/24 dev up0
    ip address add 2001:db8:1::3/64 dev up0 nodad
    daemon_up
    attach container io.netkitd.device-mode=netkit "$(published_ports 192.0.2.3: '[2001:db8:1::3]:')"
    serve_on_host
    from_outside
}

# The host's own traffic while a port is published: its sockets run programs.
path_host_with_published() {
    wire_up
    daemon_up
    attach container io.netkitd.device-mode=netkit io.netkitd.publish=8080:80
}

# The host with itself: what the next one is compared with.
path_host_loopback() {
    wire_up
    serve_on_loopback
}

# While a port of UDP is published, all of that runs a program.
path_host_loopback_with_published() {
    wire_up
    daemon_up
    attach container io.netkitd.device-mode=netkit io.netkitd.publish=8080:80/udp
    serve_on_loopback
}

# serve_in CONTAINER: where the traffic ends.
serve_in() {
    server4=$(ip -n "$1" -4 -json address show dev eth0 | jq -r '.[0].addr_info[0].local')
    server6=$(ip -n "$1" -6 -json address show dev eth0 scope global | jq -r '.[0].addr_info[0].local // ""')
    serve ip netns exec "$1"
}

path_container_container() {
    path_netkitd
    attach server io.netkitd.device-mode=netkit
    serve_in server
}

# From the host itself, by netkitd0.
path_host_container() {
    path_netkitd
    client=()
    serve_in container
}

# --- what they are compared with ----------------------------------------------------------------------------------

# As Podman sets it up by default (netavark, nftables): a bridge, masquerade, and the stateful rules of its FORWARD chain.
path_veth_bridge_nft() {
    wire_up
    container_up container
    ip link add br0 type bridge
    ip address add 10.88.0.1/16 dev br0
    ip address add fd88::1/64 dev br0 nodad
    ip link set br0 up
    ip link add port type veth peer name eth0 netns container
    ip link set port master br0 up
    container_address 16 64
    ip -n container route add default via 10.88.0.1
    ip -n container -6 route add default via fd88::1
    sysctl --quiet --write net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    nft --file - <<'RULES'
table inet bench {
    chain forward {
        type filter hook forward priority filter
        ct state invalid drop
        ip daddr 10.88.0.0/16 ct state established,related accept
        ip saddr 10.88.0.0/16 accept
        ip6 daddr fd88::/64 ct state established,related accept
        ip6 saddr fd88::/64 accept
    }
    chain postrouting {
        type nat hook postrouting priority srcnat
        ip saddr 10.88.0.0/16 ip daddr != 10.88.0.0/16 masquerade
        ip6 saddr fd88::/64 ip6 daddr != fd88::/64 masquerade
    }
}
RULES
    from_container
}

# Podman's `-p`: the same, and the rules by which netavark publishes ports.
path_published_podman() {
    data_port=20000
    two_machines
    path_veth_bridge_nft
    nft --file - <<RULES
table inet published {
    chain prerouting {
        type nat hook prerouting priority dstnat
        fib daddr type local tcp dport { $control4, $control6, $data_port } dnat ip to $container4
        fib daddr type local udp dport $data_port dnat ip to $container4
        fib daddr type local tcp dport { $control4, $control6, $data_port } dnat ip6 to $container6
        fib daddr type local udp dport $data_port dnat ip6 to $container6
    }
    chain forward {
        type filter hook forward priority filter
        ct status dnat accept
    }
}
RULES
    serve ip netns exec container
    from_outside
}

# What netkitd costs the containers of another runtime.
path_bridge_with_netkitd() {
    path_veth_bridge_nft
    daemon_up
}

# The least that BPF can do (two_lines.bpf.c): routed, not translated. It takes all that comes in, so the neighbours are
# given by hand.
path_netkit_two_lines() {
    wire_up
    container_up container
    ip link add nk0 type netkit mode l3 peer name eth0 netns container
    ip link set nk0 up
    container_address 32 128
    ip -n container route add default dev eth0
    ip -n container -6 route add default dev eth0
    ip -n outside route add "$container4" via "$node4"
    ip -n outside -6 route add "$container6" via "$node6"
    neighbours up0 "$(ip -n outside -json link show out0 | jq -r '.[].address')" "$outside4" "$outside6"
    neighbours out0 "$(cat /sys/class/net/up0/address)" "$node4" "$node6" -n outside
    "$build/tree/tests/bench/two-lines" up0 nk0
    from_container
}

path_netkit_two_lines_bigtcp() {
    path_netkit_two_lines
    big_tcp up0
    big_tcp nk0
    big_tcp eth0 -n container
}

container_address() {
    ip -n container address add "$container4/$1" dev eth0
    ip -n container address add "$container6/$2" dev eth0 nodad
    ip -n container link set eth0 up
}

# neighbours DEVICE MAC ADDRESS4 ADDRESS6 [OPTION-OF-IP…]
neighbours() {
    local device=$1 mac=$2 addresses=("$3" "$4") address
    shift 4
    for address in "${addresses[@]}"; do
        ip "$@" neighbour replace "$address" lladdr "$mac" dev "$device" nud permanent
    done
}
