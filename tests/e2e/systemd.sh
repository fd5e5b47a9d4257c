#!/bin/bash
# netkitd as README installs it: systemd is init, starts it through its socket and under its unit's hardening, and its
# journal has what daemon and hook say. Containers lose nothing by stop, restart, reload or a kill.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

property() {
    systemctl show --property "$2" --value "$1"
}

main_pid() {
    property netkitd.service MainPID
}

active() {
    [[ $(property netkitd.service ActiveState) == active ]]
}

another_pid_than() {
    active && [[ $(main_pid) != "$1" ]]
}

# lost FILE: how many requests of a ping were not answered, up to the last one that was: what was under way at its end
# doesn't count.
lost() {
    sed -n 's/.* bytes from .*icmp_seq=\([0-9]*\) .*/\1/p' "$1" | sort -nu |
        awk 'END { print NR == 0 ? "all" : $1 - NR }'
}

# The command that README names.
journal() {
    journalctl --no-pager --quiet -t netkit-hook -t netkitd
}

uplink_up
image_ready
name_server_up
equals "systemd is this node's init" systemd "$(cat /proc/1/comm)"

check "systemctl enable --now, as README says" systemctl enable --now netkitd.socket netkitd.service
check "the service is active" active
equals "since it said so itself" notify "$(property netkitd.service Type)"
equals "it starts at the next boot too" 'enabled enabled' \
    "$(systemctl is-enabled netkitd.socket netkitd.service | xargs)"
contains "it runs under the unit's system call filter" '^Seccomp:[[:space:]]+2' "$(cat "/proc/$(main_pid)/status")"
check "netkitctl status" netkitctl status
check "netkitctl doctor finds all that is needed" netkitctl doctor

check "podman run" container web -- sleep 1000
contains "the container has its interface" 'netkit mode l3' "$(in_container web ip -details link show dev eth0)"
check "the gateway answers" in_container web ping -c 1 -W 10 10.77.0.1
check "the outside answers" in_container web ping -c 1 -W 10 "$far4"

# The others that manage networks leave its host's end and our routes alone, and nothing else because of us.
host_end=$(host_interface web)
ip link add other type netkit
udevadm settle
for device in "$host_end" netkitd0 netkitd0-peer; do
    contains "NetworkManager is told to leave $device alone" '^E: NM_UNMANAGED=1' \
        "$(udevadm info "/sys/class/net/$device")"
    contains "udev too" '^E: ID_NET_LINK_FILE=.*/05-netkitd.link' "$(udevadm info "/sys/class/net/$device")"
done
equals "but not anybody else's netkit" '' "$(udevadm info /sys/class/net/other | grep -E 'NM_UNMANAGED|05-netkitd' || :)"
routes() {
    ip route show proto 120
    ip -6 route show proto 120
    ip address show dev netkitd0
}
printf '%s\n' '[Match]' 'Name=*' '[Network]' 'KeepConfiguration=yes' 'LinkLocalAddressing=no' 'IPv6AcceptRA=no' \
    >/etc/systemd/network/50-all.network
before=$(routes)
check "systemd-networkd starts, to manage all devices" systemctl start systemd-networkd.service
check "it manages the uplink" wait_for 60 bash -c 'networkctl --no-legend list up0 | grep -q configured'
contains "it leaves the host's end alone" unmanaged "$(networkctl --no-legend list "$host_end")"
contains "and netkitd0" unmanaged "$(networkctl --no-legend list netkitd0)"
equals "what containers reach beside it" 'names=yes outside=yes host=yes other=yes' "$(what_is_reached)"
check "it is restarted" systemctl restart systemd-networkd.service
check "it manages the uplink again" wait_for 60 bash -c 'networkctl --no-legend list up0 | grep -q configured'
equals "routes and gateways are as before" "$before" "$(routes)"
check "and the outside answers" in_container web ping -c 1 -W 10 "$far4"
systemctl stop systemd-networkd.service systemd-networkd.socket
rm /etc/systemd/network/50-all.network

# NetworkManager has to be told to manage the uplink: it leaves any veth alone.
printf '%s\n' '[main]' 'no-auto-default=*' '[device-uplink]' 'match-device=interface-name:up0' 'managed=1' \
    >/etc/NetworkManager/conf.d/uplink.conf
nm_state() {
    nmcli --get-values GENERAL.STATE device show "$1"
}
manages_the_uplink() {
    nm_state up0 >/dev/null && [[ $(nm_state up0) != *unmanaged* ]]
}
check "NetworkManager starts" systemctl start NetworkManager.service
check "it manages the uplink" wait_for 60 manages_the_uplink
contains "it leaves the host's end alone" unmanaged "$(nm_state "$host_end")"
contains "and netkitd0" unmanaged "$(nm_state netkitd0)"
equals "what containers reach beside it" 'names=yes outside=yes host=yes other=yes' "$(what_is_reached)"
check "it is restarted" systemctl restart NetworkManager.service
check "it manages the uplink again" wait_for 60 manages_the_uplink
equals "routes and gateways are as before" "$before" "$(routes)"
check "and the outside answers" in_container web ping -c 1 -W 10 "$far4"
systemctl stop NetworkManager.service
ip link delete other
contains "status counts it" '^ *Endpoints' "$(netkitctl status)"
contains "the journal has what the daemon says" 'netkitd\[[0-9]+\]: attached ' "$(journal)"

refused "--network host fails the container's start" 126 podman run --rm --hooks-dir "$hooks_dir" --network host \
    --annotation io.netkitd.network=default busybox true
check "and the journal has the hook's reason" wait_for 20 bash -c \
    'journalctl --quiet -t netkit-hook | grep -E "netkit-hook\[[0-9]+\]: .*--network none"'

# Five packets a second, answered by the outside host, for as long as the rest takes.
nsenter --net="/proc/$(podman inspect --format '{{.State.Pid}}' web)/ns/net" -- \
    ping -i 0.2 -W 10 "$far4" >"$scratch/pings" &
pings=$!

check "systemctl stop" systemctl stop netkitd.service
check "traffic flows while it is stopped" in_container web ping -c 1 -W 10 "$far4"
equals "nothing runs" 'inactive 0' "$(property netkitd.service ActiveState) $(main_pid)"
check "a request through the socket starts it" wait_for 60 netkitctl endpoint list
check "and it is active" active
equals "with the container that it had" 1 "$(netkitctl endpoint list --json | jq '.endpoints | length')"

# What keeps it from starting, here a newer version's map, does not end in a dead unit.
newer=/sys/fs/bpf/netkitd/abi3/maps/flows4-99
bpftool map create "$newer" type array key 4 value 4 entries 1 name newer
for _ in {1..6}; do
    systemctl restart netkitd.service 2>/dev/null || :
done
contains "a start that is refused is tried again" 'auto-restart|start' "$(property netkitd.service SubState)"
contains "the journal says why, and what to do" 'flows4-99 is the map of a newer version.*--purge' "$(journal)"
check "traffic flows meanwhile" in_container web ping -c 1 -W 10 "$far4"
rm "$newer"
check "it starts as soon as it can" wait_for 180 active

before=$(main_pid)
check "systemctl restart" systemctl restart netkitd.service
check "another process serves" another_pid_than "$before"

gso_size() {
    in_container web ip -details -json link show dev eth0 | jq '.[0].gso_max_size'
}
equals "the container has BIG TCP" 196608 "$(gso_size)"
echo '{"networks": {"default": {"ipv4": "10.77.0.0/16", "ipv6": "fd6e:6b64::/64"}, "blue": {"ipv4": "10.78.0.0/24"}},
    "big_tcp": false}' >/etc/netkitd/netkitd.json
before=$(main_pid)
check "systemctl reload" systemctl reload netkitd.service
check "brings the new network" wait_for 20 bash -c \
    'netkitctl status --json | jq -e ".networks[] | select(.name == \"blue\")"'
equals "in the same process" "$before" "$(main_pid)"
equals "the running container follows \`big_tcp\`: the unit lets the daemon into its namespace" 65536 "$(gso_size)"

restarts=$(property netkitd.service NRestarts)
kill -9 "$before"
check "killed, it is started again" wait_for 180 another_pid_than "$before"
check "and serves" netkitctl status

# WatchdogSec=30s: a daemon that does not say that it lives would be gone by then.
check "the watchdog hears from it" bash -c 'sleep 35; systemctl is-active netkitd.service'
equals "so that it was restarted for the kill alone" 1 "$(($(property netkitd.service NRestarts) - restarts))"

kill -INT "$pings"
wait "$pings" || fail "the pings end well"
equals "no packet was lost in all of this" 0 "$(lost "$scratch/pings")"

check "poststop" podman rm --force --time 0 web
check "gives everything back" wait_for 60 no_endpoints
check "README's removal: disable, and purge" bash -c \
    'systemctl disable --now netkitd.socket netkitd.service && netkitd --purge'
check "nothing is pinned" test ! -e /sys/fs/bpf/netkitd
contains "netkitctl says that it does not run, and how to start it" 'systemctl start netkitd' \
    "$(netkitctl status 2>&1 || :)"
equals "no unit has failed" '' "$(systemctl list-units --failed --plain --no-legend 'netkitd*')"
((failed == 0)) || journal | tail -n 60
