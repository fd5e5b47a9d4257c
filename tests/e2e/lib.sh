# shellcheck shell=bash
# What the end-to-end tests share. A test is a script that makes a node, does what a user would do, and names what it
# looks at; it runs to its end whatever fails, and cleans up after itself:
#
#   . "$(dirname -- "$0")/lib.sh"
#   node_up                                # the uplink and an outside host, netkitd running
#   container web --annotation io.netkitd.ipv4=10.88.0.9 -- httpd -f -h /www
#   check "web answers from outside" outside curl -sf http://192.0.2.1/
#   equals "one endpoint" 1 "$(netkitctl endpoint list --json | jq length)"
#
# The node is the network namespace that the script runs in: the VM's, or the sandbox's own. Beyond its uplink is the
# network namespace "outside", whose host has the addresses below (RFC 5737 and RFC 3849, for documentation).

hooks_dir=/usr/share/containers/oci/hooks.d
image_tar=/usr/share/netkitd-test/image.tar
rootfs=/usr/share/netkitd-test/rootfs
# shellcheck disable=SC2034 # for the tests
node4=192.0.2.1 outside4=192.0.2.2 far4=198.51.100.1
# shellcheck disable=SC2034
node6=2001:db8:1::1 outside6=2001:db8:1::2 far6=2001:db8:2::1
# shellcheck disable=SC2034
node6_as_socat_writes_it='[2001:0db8:0001:0000:0000:0000:0000:0001]'
scratch=$(mktemp -d)
# The VM is some 25 times slower than a machine: its hook waits longer for the daemon.
if [[ -n ${NETKITD_VM:-} ]]; then
    mkdir "$scratch/hooks.d"
    jq '.hook.args = ["netkit-hook", "--deadline-ms", "60000"] | .hook.timeout = 90' "$hooks_dir/netkitd.json" \
        >"$scratch/hooks.d/netkitd.json"
    hooks_dir=$scratch/hooks.d
fi
daemon_log=$scratch/netkitd.log
daemon_pid=
background_pids=()
# shellcheck source=tests/commands/checks.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../commands/checks.sh"

# --- the node -----------------------------------------------------------------------------------------------------

# outside COMMAND…: on the host beyond the uplink.
outside() {
    ip netns exec outside "$@"
}

uplink_up() {
    outside_up
    wire up0 out0
    addresses_up up0 out0
}

outside_up() {
    ip netns add outside
    outside ip link set lo up
    outside ip address add "$far4/32" dev lo
    ! has_ipv6 || outside ip address add "$far6/128" dev lo nodad
}

# wire NODE-DEVICE OUTSIDE-DEVICE: between the two, both up.
wire() {
    ip link add "$1" type veth peer name "$2" netns outside
    no_dad "$1"
    outside "$(command -v bash)" -c "$(declare -f no_dad); no_dad $2"
    ip link set "$1" up
    outside ip link set "$2" up
}

# A kernel that was booted with ipv6.disable=1 has none.
has_ipv6() {
    [[ -e /proc/net/if_inet6 ]]
}

# no_dad DEVICE: a host asks no neighbour before its own link-local address has passed the detection of duplicates.
no_dad() {
    [[ ! -e /proc/net/if_inet6 ]] || echo 0 >"/proc/sys/net/ipv6/conf/$1/dad_transmits"
}

# addresses_up NODE-DEVICE OUTSIDE-DEVICE: the hosts' addresses on them, and the node's default routes.
addresses_up() {
    ip address add "$node4/24" dev "$1"
    outside ip address add "$outside4/24" dev "$2"
    ip route add default via "$outside4" dev "$1"
    has_ipv6 || return 0
    ip address add "$node6/64" dev "$1" nodad
    outside ip address add "$outside6/64" dev "$2" nodad
    ip -6 route add default via "$outside6" dev "$1"
}

# The uplinks go with the outside host's namespace, and the routes with them.
outside_down() {
    if ip netns list | grep -qw outside; then
        ip netns pids outside | xargs --no-run-if-empty kill
        ip netns delete outside
    fi
}

# node_state: what a test must leave as it found it, since the next one begins there.
node_state() {
    ip netns list
    ip -brief link show | awk '{ print "device", $1 }'
    local family
    for family in -4 $(! has_ipv6 || echo -6); do
        ip "$family" rule show
        ip "$family" route show table all
    done
    nft list ruleset
}

node_is_as_before() {
    node_state >"$scratch/node.now"
    cmp --silent "$scratch/node.before" "$scratch/node.now"
}

# daemon_start [ARGUMENT…]: starts netkitd and waits until it answers.
# shellcheck disable=SC2120 # its arguments are for the tests
daemon_start() {
    netkitd "$@" >>"$daemon_log" 2>&1 &
    daemon_pid=$!
    if ! wait_for 60 daemon_decided || ! netkitctl status >/dev/null; then
        fail "netkitd starts" "its log:" "$(tail -n 20 "$daemon_log")"
        exit 1
    fi
}

# It answers, or it has ended.
daemon_decided() {
    netkitctl status || ! kill -0 "$daemon_pid"
}

# daemon_stop [SIGNAL]: ends it, and leaves its exit status in $daemon_status.
# shellcheck disable=SC2120
daemon_stop() {
    daemon_status=0
    kill -s "${1:-TERM}" "$daemon_pid"
    # shellcheck disable=SC2034 # for the tests
    wait "$daemon_pid" || daemon_status=$?
    daemon_pid=
}

image_ready() {
    podman image exists busybox || podman import --quiet "$image_tar" busybox >/dev/null
}

node_up() {
    uplink_up
    image_ready
    # shellcheck disable=SC2119
    daemon_start
}

# counter NAME: packets so far of a drop or an event.
counter() {
    netkitctl status --json | jq --arg name "$1" '.counters[] | select(.name == $name) | .packets'
}

# endpoints N: whether the daemon has that many.
endpoints() {
    (($(netkitctl endpoint list --json | jq '.endpoints | length') == $1))
}

no_endpoints() {
    endpoints 0
}

# background [outside] COMMAND…: until the test ends. A program, so that its process is the one that is ended.
background() {
    if [[ $1 == outside ]]; then
        shift
        set -- ip netns exec outside "$@"
    fi
    "$@" >"$scratch/background" 2>&1 &
    background_pids+=($!)
}

# mirror_up PORT [outside]: a host that answers whoever asks there, by TCP or UDP, with the address that it sees.
# shellcheck disable=SC2016 # socat's shell expands it
mirror_up() {
    local port=$1 who='SYSTEM:echo $SOCAT_PEERADDR' who_after_a_line='SYSTEM:read line; echo $SOCAT_PEERADDR'
    shift
    background "$@" socat "TCP-LISTEN:$port,fork,reuseaddr" "$who"
    background "$@" socat "UDP-RECVFROM:$port,fork" "$who_after_a_line"
    background "$@" socat "TCP6-LISTEN:$port,ipv6only,fork,reuseaddr" "$who"
    background "$@" socat "UDP6-RECVFROM:$port,ipv6only,fork" "$who_after_a_line"
}

# wait_all: for every job started since, and ends with 0 if all of them did. The daemon and background() go on.
wait_all() {
    local job status=0
    for job in $(jobs -p); do
        [[ " $daemon_pid ${background_pids[*]} " == *" $job "* ]] || wait "$job" || status=1
    done
    return "$status"
}

# --- containers ---------------------------------------------------------------------------------------------------

# container NAME [PODMAN-OPTION…] -- COMMAND…: starts a container through the hook, in the background.
container() {
    local name=$1 options=()
    shift
    while [[ $1 != -- ]]; do
        options+=("$1")
        shift
    done
    shift
    podman run --detach --name "$name" --hooks-dir "$hooks_dir" --network none \
        --annotation io.netkitd.network=default "${options[@]}" busybox "$@"
}

# pid_of NAME: of the container's process. Podman is asked once for each, since that takes a second or two in the VM; one
# that was started again has another process, and the former is gone.
pid_of() {
    local known=$scratch/pids/$1
    if [[ ! -e $known || ! -e /proc/$(<"$known")/ns/net ]]; then
        mkdir -p "$scratch/pids"
        podman inspect --format '{{.State.Pid}}' "$1" >"$known"
    fi
    cat "$known"
}

# in_container NAME COMMAND…: COMMAND is the host's, in the container's network namespace: as fast as the host, while
# `podman exec` takes seconds in the VM.
in_container() {
    local pid
    pid=$(pid_of "$1")
    shift
    nsenter --net="/proc/$pid/ns/net" -- "$@"
}

# name_server_up: on the outside host, at 198.51.100.53 and .54, one that knows web.example.test; it is this host's.
name_server_up() {
    outside ip address add 198.51.100.53/32 dev lo
    outside ip address add 198.51.100.54/32 dev lo
    background outside "$(dirname -- "${BASH_SOURCE[0]}")/name_server" "web.example.test=$far4" 198.51.100.53 198.51.100.54
    echo 'nameserver 198.51.100.53' >/etc/resolv.conf
}

# resolves CONTAINER: whether it asks that server, or one that a test named, and gets the answer.
resolves() {
    [[ $(podman exec "$1" timeout 30 nslookup web.example.test 2>&1) == *"$far4"* ]]
}

# what_is_reached: by a new container, "names=yes outside=yes host=yes other=yes": names (name_server_up), the outside,
# this host, and another new container. Both are gone afterwards.
what_is_reached() {
    container one -- sleep 1000 >/dev/null
    container two -- sleep 1000 >/dev/null
    printf 'names=%s outside=%s host=%s other=%s' "$(yes_if resolves one)" \
        "$(yes_if in_container one ping -c 1 -W 10 "$far4")" "$(yes_if in_container one ping -c 1 -W 10 "$node4")" \
        "$(yes_if in_container one ping -c 1 -W 10 "$(address4 two)")"
    podman rm --force --time 0 one two >/dev/null
}

# yes_if COMMAND…: "yes" if it succeeds, else "no".
yes_if() {
    if "$@" >/dev/null 2>&1; then echo yes; else echo no; fi
}

# seen_by_udp NAME ADDRESS: as whom a mirror there (mirror_up, port 7) saw this container. One datagram is all of the
# answer, and no end of file comes after it.
seen_by_udp() {
    # shellcheck disable=SC2016 # its own shell expands it
    in_container "$1" bash -c 'exec 3<>"/dev/udp/$1/7" && echo hello >&3 && timeout 20 head -n 1 <&3' - "$2"
}

# address4 NAME [INTERFACE]: the container's IPv4 address.
address4() {
    in_container "$1" ip -4 -json address show dev "${2:-eth0}" | jq -r '.[0].addr_info[0].local'
}

# host_interface NAME: the host's end of the container's pair.
host_interface() {
    netkitctl endpoint show "$(podman inspect --format '{{.Id}}' "$1")" --json | jq -r .host_interface
}

# address6 NAME [INTERFACE]: the container's IPv6 address.
address6() {
    in_container "$1" ip -6 -json address show dev "${2:-eth0}" | jq -r '.[0].addr_info[0].local'
}

# bundle DIRECTORY ID COMMAND…: an OCI bundle for crun or runc, with netkitd's hook and annotation in its config.json.
bundle() {
    local directory=$1 id=$2
    shift 2
    mkdir -p "$directory"
    jq --null-input --arg rootfs "$rootfs" --arg id "$id" --slurpfile hooks "$hooks_dir/netkitd.json" \
        --args -f "$(dirname -- "${BASH_SOURCE[0]}")/bundle.jq" "$@" >"$directory/config.json"
}

# --- the end ------------------------------------------------------------------------------------------------------

cleanup() {
    local status=$?
    set +e
    trap - EXIT
    [[ -z $(podman ps --all --quiet) ]] || podman rm --all --force --time 0 >/dev/null
    # shellcheck disable=SC2119
    [[ -z $daemon_pid ]] || daemon_stop
    if command -v netkitd >/dev/null && [[ -d /sys/fs/bpf/netkitd ]]; then
        netkitd --purge --force >/dev/null 2>"$scratch/purge" || fail "purge" "$(cat "$scratch/purge")"
    fi
    ((${#background_pids[@]} == 0)) || kill "${background_pids[@]}" 2>/dev/null
    outside_down
    local changes
    if ! wait_for 20 node_is_as_before; then
        mapfile -t changes < <(diff "$scratch/node.before" "$scratch/node.now" | grep '^[<>]')
        fail "the test leaves the node as it was" "${changes[@]}"
    fi
    if ((failed > 0)) && [[ -s $daemon_log ]]; then
        printf 'the end of the log of netkitd:\n'
        tail -n 40 "$daemon_log" | sed 's/^/      /'
    fi
    rm -rf "$scratch"
    verdict || ((status != 0)) || status=1
    exit "$status"
}
ip link set lo up
node_state >"$scratch/node.before"
trap cleanup EXIT
