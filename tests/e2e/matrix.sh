#!/bin/bash
# Kinds of hosts and what containers reach on each, a line a cell: whether names resolve, and the outside, the host and
# another container answer. What is expected stands here; a cell that differs fails. Hosts whose devices systemd-networkd
# or NetworkManager manage are in systemd.sh.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

expected='plain        names=yes outside=yes host=yes other=yes
overlap      names=yes outside=yes host=yes other=yes
no-ipv6      names=yes outside=yes host=yes other=yes
ipv6.disable names=yes outside=yes host=yes other=yes
jit-harden   names=yes outside=yes host=yes other=yes
rp-filter    names=yes outside=yes host=yes other=yes
docker       names=yes outside=yes host=yes other=yes
firewalld    names=yes outside=yes host=yes other=yes'

# VMs are for what this machine does not let a test change, and for what is decided at the boot.
here=-vE
rows='jit-harden|ipv6.disable'
if [[ -n ${NETKITD_VM:-} ]]; then
    here=-E
    rows=jit-harden
    [[ -e /proc/net/if_inet6 ]] || rows=ipv6.disable
fi
expected=$(grep "$here" "^($rows) " <<<"$expected")

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

# Decided at the boot (suite e2e-no-ipv6): the kernel has no IPv6 at all.
ipv6.disable_up() { :; }
ipv6.disable_down() { :; }

# Of the whole machine, and to be changed in its own namespaces only.
jit-harden_up() {
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

# --- the rows -------------------------------------------------------------------------------------------------------------

uplink_up
image_ready
name_server_up

while read -r line; do
    host=${line%% *}
    "${host}_up"
    daemon_start
    [[ $host != *ipv6* ]] || lacks "status says nothing of IPv6" 'fd6e:|IPv6|ipv6' "$(netkitctl status)"
    equals "what containers reach on the host $host" "$line" "$(printf '%-12s %s' "$host" "$(what_is_reached)")"
    check "and they are gone" wait_for 60 no_endpoints
    daemon_stop
    netkitd --purge >/dev/null 2>&1
    "${host}_down"
done <<<"$expected"

verdict
