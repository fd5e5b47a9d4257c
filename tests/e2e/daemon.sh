#!/bin/bash
# The daemon as systemd and an administrator meet it: configuration, signals, readiness, and the way out (--purge).
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

uplink_up
echo '{"networks": {"default": {"ipv4": "10.77.0.0/24"}}, /* comments are allowed */ "masquerade": {"ports": "50000-60000"}}' >"$scratch/good.json"
check "--check-config says that a good file is good" netkitd --check-config --config "$scratch/good.json"
echo '{"networks": {"default": {"ipv4": "10.77.0.0/24", "mtuu": 9000}}}' >"$scratch/bad.json"
refused "--check-config refuses a wrong key" 1 netkitd --check-config --config "$scratch/bad.json"
contains "and names file and key" 'bad.json.*mtuu' "$(netkitd --check-config --config "$scratch/bad.json" 2>&1 || :)"
refused "with a wrong file the daemon does not start" 1 netkitd --config "$scratch/bad.json"
refused "a usage error ends with 2" 2 netkitd --nonsense

# Readiness as systemd sees it.
background socat -u UNIX-RECVFROM:"$scratch/notify",fork OPEN:"$scratch/notified",creat,append
wait_for 20 test -S "$scratch/notify"
cp "$scratch/good.json" "$scratch/netkitd.json"
before=$(sysctl -n net.ipv4.ip_local_reserved_ports)
# What IPv6 forwarding may touch, on this device and for the whole host.
ipv6_settings() {
    sysctl net.ipv6.conf.{all,default,up0}.{forwarding,accept_ra}
}
before6=$(ipv6_settings)
NOTIFY_SOCKET=$scratch/notify daemon_start --config "$scratch/netkitd.json"
check "it says that it is ready" wait_for 20 grep -q READY=1 "$scratch/notified"
contains "its ports are the host's no more" '50000-60000' "$(sysctl -n net.ipv4.ip_local_reserved_ports)"
contains "and status lists that change" 'ip_local_reserved_ports' "$(netkitctl status)"
refused "a second daemon on the same node is refused" 1 netkitd --config "$scratch/netkitd.json"

ip netns add c1
check "netkitctl attach" netkitctl attach --id c1 --netns /run/netns/c1 --annotation io.netkitd.network=default
check "the container reaches the outside" ip netns exec c1 ping -c 1 -W 10 "$far4"

echo '{"networks": {"default": {"ipv4": "10.77.0.0/24"}, "blue": {"ipv4": "10.78.0.0/24"}}, "masquerade": {"ports": "50000-60000"}}' >"$scratch/netkitd.json"
kill -HUP "$daemon_pid"
check "SIGHUP brings a new network" wait_for 20 bash -c 'netkitctl status --json | jq -e ".networks[] | select(.name == \"blue\")"'
echo '{"networks": {"default": {"ipv4": "10.99.0.0/24"}}}' >"$scratch/netkitd.json"
kill -HUP "$daemon_pid"
check "a network in use can't be changed, and status says why" wait_for 20 bash -c 'netkitctl status | grep -q "network default is in use by container c1"'
check "nothing was lost" ip netns exec c1 ping -c 1 -W 10 "$far4"
echo '{"networks": {"default": {"ipv4": "10.77.0.0/24"}, "blue": {"ipv4": "10.78.0.0/24"}}, "masquerade": {"ports": "50000-60000"}}' >"$scratch/netkitd.json"

no_program_of_ours() {
    [[ $(bpftool net show dev up0) != *uplink* ]]
}
refused "--purge is refused while the daemon runs" 1 netkitd --purge --config "$scratch/netkitd.json"
daemon_stop
equals "SIGTERM ends it well" 0 "$daemon_status"
check "traffic flows on" ip netns exec c1 ping -c 1 -W 10 "$far4"
refused "its programs stay on the uplink" 1 no_program_of_ours
contains "netkitctl says that it does not run" 'not running' "$(netkitctl status 2>&1 || :)"
refused "--purge is refused while containers run" 1 netkitd --purge --config "$scratch/netkitd.json"
contains "and names them" 'c1' "$(netkitd --purge --config "$scratch/netkitd.json" 2>&1 || :)"
check "--purge --force" netkitd --purge --force --config "$scratch/netkitd.json"
lacks "no pair is left" ' nk[0-9a-f]{8}|netkitd0' "$(ip -o link)"
lacks "no route is left" '10\.7[78]\.|fd6e:|proto 120' "$(ip route show table all; ip -6 route show table all)"
lacks "no address is left" '10\.7[78]\.|fd6e:' "$(ip address)"
check "no pin is left" test ! -e /sys/fs/bpf/netkitd
check "no state is left" test ! -e /var/lib/netkitd/state.db
equals "the host's sysctl is what it was" "$before" "$(sysctl -n net.ipv4.ip_local_reserved_ports)"
equals "and those of IPv6" "$before6" "$(ipv6_settings)"
# The kernel lets go of a program some time after its pin.
check "no program is left on the uplink" wait_for 20 no_program_of_ours
ip netns delete c1

# Without its database netkitd knows no names, but it sees the pairs.
daemon_start
ip netns add c1
check "attached once more" netkitctl attach --id c1 --netns /run/netns/c1
daemon_stop
rm /var/lib/netkitd/state.db*
contains "--purge without the database does not cut off a container either" \
    'does not know are attached by nk[0-9a-f]*; stop them first' "$(netkitd --purge 2>&1 || :)"
cannot_say='state.db does not say what netkitd changed of this host.*restart the host'
contains "with --force it says what it cannot put back" "$cannot_say" "$(netkitd --purge --force 2>&1)"
check "no pin is left" test ! -e /sys/fs/bpf/netkitd
sysctl -qw net.ipv4.ip_local_reserved_ports="$before"
ip netns delete c1

# Nor does a database stop the purge that cannot be read: a newer version's, whose tables are others, and a damaged one.
for database in newer damaged; do
    daemon_start
    daemon_stop
    case $database in
        newer) sqlite3 /var/lib/netkitd/state.db 'PRAGMA user_version = 99; ALTER TABLE node RENAME TO host' ;;
        damaged) rm /var/lib/netkitd/state.db* && echo "not a database" >/var/lib/netkitd/state.db ;;
    esac
    contains "$database: --purge says what it cannot put back" "$cannot_say" "$(netkitd --purge 2>&1)"
    check "$database: no pin is left" test ! -e /sys/fs/bpf/netkitd
    lacks "$database: no address is left" '10\.7[78]\.|fd6e:' "$(ip address)"
    sysctl -qw net.ipv4.ip_local_reserved_ports="$before"
done
check "what is damaged may be anybody's, and stays" rm /var/lib/netkitd/state.db

# Without a bpf file system it does not start, and says what to do.
mkdir "$scratch/nobpf"
refused "without a bpf file system it does not start" 1 netkitd --bpffs "$scratch/nobpf/netkitd"
contains "and says what to do" 'mount -t bpf' "$(netkitd --bpffs "$scratch/nobpf/netkitd" 2>&1 || :)"
