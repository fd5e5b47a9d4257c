#!/bin/bash
# Kinds of hosts and what containers reach on each, a line a cell: whether names resolve, and the outside, the host and
# another container answer. What is expected stands here; a cell that differs fails.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

expected='plain        names=yes outside=yes host=yes other=yes
overlap      names=yes outside=yes host=yes other=yes
no-ipv6      names=yes outside=yes host=yes other=yes
jit-harden   names=yes outside=yes host=yes other=yes
rp-filter    names=yes outside=yes host=yes other=yes
docker       names=yes outside=yes host=yes other=yes
firewalld    names=yes outside=yes host=yes other=yes'

# The VM is for what this machine does not let a test change.
[[ -z ${NETKITD_VM:-} ]] || expected=$(grep '^jit-harden ' <<<"$expected")

# --- hosts: HOST_up makes one of the plain one, HOST_down makes it plain again --------------------------------------------

plain_up() { :; }
plain_down() { :; }

# A LAN, an address and a company's route in the usual prefix.
overlap_up() {
    ip link add lan0 type veth peer name lan1
    ip address add 10.77.5.5/24 dev lan0
    ip link set lan0 up
    ip link set lan1 up
    ip route add 10.0.0.0/8 via "$outside4"
}
overlap_down() {
    ip route delete 10.0.0.0/8
    ip link delete lan0
}

no-ipv6_up() { sysctl -qw net.ipv6.conf.all.disable_ipv6=1; }
no-ipv6_down() {
    sysctl -qw net.ipv6.conf.all.disable_ipv6=0
    ip address add "$node6/64" dev up0 nodad
    ip -6 route add default via "$outside6" dev up0
}

# Of the whole machine, and to be changed in its own namespaces only.
jit-harden_up() {
    [[ -w /proc/sys/net/core/bpf_jit_harden ]] || return 77
    sysctl -qw net.core.bpf_jit_harden=2
}
jit-harden_down() { sysctl -qw net.core.bpf_jit_harden=0; }

rp-filter_up() { sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1; }
rp-filter_down() { sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0; }

# As dockerd's iptables-nft leaves them.
docker_up() {
    nft -f - <<'END'
table ip filter {
    chain DOCKER-USER { return; }
    chain DOCKER-FORWARD { ct state related,established accept; iifname "docker0" accept; }
    chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER; jump DOCKER-FORWARD; }
}
table ip nat {
    chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept;
        ip saddr 172.17.0.0/16 oifname != "docker0" masquerade; }
}
END
}
docker_down() { nft flush ruleset; }

# The public zone of firewalld with its default services: it rejects what no rule allows.
firewalld_up() {
    nft -f - <<'END'
table inet firewalld {
    chain filter_INPUT { type filter hook input priority filter + 10; policy accept;
        ct state { established, related } accept; iifname "lo" accept; ct state invalid drop;
        meta l4proto { icmp, ipv6-icmp } accept; tcp dport 22 accept; reject with icmpx admin-prohibited; }
    chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept;
        ct state { established, related } accept; ct state invalid drop; iifname "lo" accept;
        reject with icmpx admin-prohibited; }
    chain filter_OUTPUT { type filter hook output priority filter + 10; policy accept; oifname "lo" accept; }
}
END
}
firewalld_down() { nft flush ruleset; }

# --- the cells ------------------------------------------------------------------------------------------------------------

# cell NAME COMMAND…: "NAME=yes", if the command succeeds within a time.
cell() {
    local name=$1 result=no
    shift
    if timeout 30 "$@" >/dev/null 2>&1; then result=yes; fi
    printf ' %s=%s' "$name" "$result"
}

names_resolve() {
    [[ $(podman exec one nslookup web.example.test 2>&1) == *198.51.100.7* ]]
}

row() {
    local host=$1 two
    two=$(address4 two)
    printf '%-12s' "$host"
    cell names bash -c "$(declare -f names_resolve); names_resolve"
    cell outside nsenter --net="/proc/$(pid_of one)/ns/net" -- ping -c 1 -W 10 "$far4"
    cell host nsenter --net="/proc/$(pid_of one)/ns/net" -- ping -c 1 -W 10 "$node4"
    cell other nsenter --net="/proc/$(pid_of one)/ns/net" -- ping -c 1 -W 10 "$two"
    printf '\n'
}

uplink_up
image_ready
outside ip address add 198.51.100.53/32 dev lo
background outside "$(dirname -- "$0")/name_server" web.example.test=198.51.100.7 198.51.100.53
echo 'nameserver 198.51.100.53' >/etc/resolv.conf

while read -r line; do
    host=${line%% *}
    status=0
    "${host}_up" || status=$?
    if ((status == 77)); then
        echo "skipped: $host: this machine's settings are not the test's to change"
        continue
    fi
    daemon_start
    container one -- sleep 1000 >/dev/null
    container two -- sleep 1000 >/dev/null
    equals "what containers reach on the host $host" "$line" "$(row "$host")"
    podman rm --all --force --time 0 >/dev/null
    wait_for 60 no_endpoints
    daemon_stop
    netkitd --purge >/dev/null 2>&1
    "${host}_down"
done <<<"$expected"

verdict
