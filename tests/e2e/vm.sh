#!/bin/bash
# The ground that the other tests stand on: the kernel has netkit, bpffs and cgroup2 are there, Podman, crun and runc
# run a container. If this fails, look here first.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

check "the kernel makes a netkit pair" ip link add nktest type netkit peer name nkpeer
contains "the pair is netkit, in L3 mode" "netkit mode l3" "$(ip -details link show nktest)"
ip link delete nktest
equals "bpffs is mounted" bpf "$(stat --file-system --format %T /sys/fs/bpf | sed s/bpf_fs/bpf/)"
equals "cgroup2 is mounted" cgroup2fs "$(stat --file-system --format %T /sys/fs/cgroup)"

uplink_up
check "the outside host answers" ping -c 1 -W 10 "$far4"
check "the outside host answers, IPv6" ping -c 1 -W 10 "$far6"

image_ready
equals "Podman runs a container" hello "$(podman run --rm --network none busybox echo hello)"
