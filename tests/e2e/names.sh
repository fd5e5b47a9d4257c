#!/bin/bash
# Names resolve in a container, with no option but the annotation: images with and without an /etc/resolv.conf, read-only
# ones, user namespaces, pods, a restart after the host's servers changed.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname -- "$0")/lib.sh"

# host_resolver LINE…: the host's /etc/resolv.conf.
host_resolver() {
    printf '%s\n' "$@" >/etc/resolv.conf
}

resolv_conf() {
    podman exec "$1" cat /etc/resolv.conf
}

# own_name NAME: whether the container's own name has its own address there, by /etc/hosts. Podman writes that file after
# the hook, which then changes it.
own_name() {
    [[ $(podman exec "$1" sh -c 'grep -w "$(hostname)" /etc/hosts') == "$(address4 "$1")"* ]]
}

uplink_up
image_ready
name_server_up
host_resolver 'search example.test corp.example' 'nameserver 127.0.0.53' 'nameserver 198.51.100.53' 'options ndots:2'
daemon_start

container plain -- sleep 1000 >/dev/null
check "a name resolves in a container" resolves plain
equals "its resolv.conf has the host's server, domains and options" \
    'search example.test corp.example
nameserver 198.51.100.53
options ndots:2' "$(resolv_conf plain | grep -v '^#')"
contains "which says where it is from" '^# .*/etc/resolv.conf' "$(resolv_conf plain)"
equals "it has no more of the host's" 'plain' "$(podman exec plain sh -c 'echo plain >/etc/resolv.conf; cat /etc/resolv.conf')"
lacks "and what it writes there stays its own" plain "$(cat /etc/resolv.conf)"
refused "nor does that fill anything of the host's" 1 podman exec plain dd if=/dev/zero of=/etc/resolv.conf bs=64k count=100
check "its own name has its own address" wait_for 50 own_name plain
contains "by all of its names" "^$(address4 plain)\s+[0-9a-f]{12} plain$" "$(podman exec plain cat /etc/hosts)"
contains "of IPv6 too" "^$(address6 plain)\s+[0-9a-f]{12} plain$" "$(podman exec plain cat /etc/hosts)"
contains "localhost stays what it was" '^127.0.0.1.*localhost' "$(podman exec plain cat /etc/hosts)"

podman commit --quiet plain committed >/dev/null
equals "a commit of it has nothing of that" '' \
    "$(podman run --rm --network none committed cat /etc/resolv.conf)"

container read-only --read-only -- sleep 1000 >/dev/null
check "in a read-only container" resolves read-only
grep -q '^containers:' /etc/subuid || printf 'containers:200000:655360\n' | tee -a /etc/subuid >>/etc/subgid
container mapped --userns=auto -- sleep 1000 >/dev/null
check "in one with a user namespace" resolves mapped
equals "whose root owns the file" root "$(podman exec mapped stat -c %U /etc/resolv.conf)"
check "and has its name in /etc/hosts" wait_for 50 own_name mapped

cp -a "$rootfs" "$scratch/rootfs"
podman run --detach --name bare --hooks-dir "$hooks_dir" --network none --annotation io.netkitd.network=default \
    --rootfs "$scratch/rootfs" sleep 1000 >/dev/null
check "in one of a directory (--rootfs)" resolves bare
equals "which keeps nothing but an empty file" '' "$(cat "$scratch/rootfs/etc/resolv.conf")"

# Images that have one, and that have a link to where a daemon would write one.
image_with() {
    local made
    made=$(podman create busybox true)
    podman cp "$2" "$made:/etc/resolv.conf" 2>/dev/null || :
    podman commit --quiet "$made" "$1" >/dev/null
    podman rm "$made" >/dev/null
}
echo 'nameserver 203.0.113.1' >"$scratch/own.conf"
image_with with-own "$scratch/own.conf"
start_image() {
    podman run --detach --name "$1" --hooks-dir "$hooks_dir" --network none --annotation io.netkitd.network=default \
        "${@:3}" "$2" sleep 1000 >/dev/null
}
start_image own with-own
check "in one whose image has an /etc/resolv.conf" resolves own
mkdir -p "$scratch/linked"
cp -a "$rootfs/." "$scratch/linked"
for target in /run/systemd/resolve/stub-resolv.conf ../run/resolvconf/resolv.conf ../../../../../run/far.conf; do
    ln -sfn "$target" "$scratch/linked/etc/resolv.conf"
    name=linked-$(tr -c 'a-z\n' - <<<"$target" | tr -s -)
    podman run --detach --name "${name%-}" --hooks-dir "$hooks_dir" --network none \
        --annotation io.netkitd.network=default --rootfs "$scratch/linked:O" sleep 1000 >/dev/null
    check "in one whose image has a link to $target" resolves "${name%-}"
done
check "no link led out of the container" test ! -e /run/far.conf -a ! -e /run/resolvconf

# Links that lead out by a volume, to a device or to a FIFO: nothing is mounted there and nothing opened; the container
# starts all the same.
mkdir "$scratch/shared"
mount --bind "$scratch/shared" "$scratch/shared"
mount --make-shared "$scratch/shared"
echo precious >"$scratch/shared/important"
mknod "$scratch/linked/etc/device" c 240 7
mkfifo "$scratch/linked/etc/fifo"
hostile=0
for target in /dev/null /mnt/important /mnt/new /etc/device /etc/aa/bb/../../device /etc/aa/bb/../../fifo /etc/fifo; do
    ln -sfn "$target" "$scratch/linked/etc/resolv.conf"
    hostile=$((hostile + 1))
    check "one whose image has a link to $target starts" timeout 30 podman run --detach --name "hostile-$hostile" \
        --hooks-dir "$hooks_dir" --network none --annotation io.netkitd.network=default \
        --volume "$scratch/shared:/mnt:ro,rshared" --rootfs "$scratch/linked:O" sleep 1000
    podman exec "hostile-$hostile" sh -c 'test -f /etc/resolv.conf && echo OWNED >/etc/resolv.conf' 2>/dev/null || :
done
equals "its /dev/null is one" '' "$(podman exec hostile-1 sh -c 'echo junk >/dev/null; cat /dev/null')"
equals "nothing was mounted on the host" '' "$(grep -F ' tmpfs netkitd ' /proc/self/mountinfo || :)"
equals "nor made there" important "$(ls "$scratch/shared")"
equals "nor written, through a volume that is read-only" precious "$(cat "$scratch/shared/important")"
seq --format 'hostile-%g' "$hostile" | xargs podman rm --force --time 0 >/dev/null
umount "$scratch/shared"

echo 'nameserver 198.51.100.54' >"$scratch/mine.conf"
container mine --volume "$scratch/mine.conf:/etc/resolv.conf:ro" -- sleep 1000 >/dev/null
equals "the user's own /etc/resolv.conf stays" 'nameserver 198.51.100.54' "$(resolv_conf mine)"
printf '127.0.0.1 localhost\n127.0.0.1 blocked.example\n' >"$scratch/hosts"
container my-hosts --volume "$scratch/hosts:/etc/hosts:ro" -- sleep 1000 >/dev/null
equals "and the user's own /etc/hosts" "$(<"$scratch/hosts")" "$(podman exec my-hosts cat /etc/hosts)"

container chosen --annotation io.netkitd.dns=198.51.100.54,2001:db8:2::54 -- sleep 1000 >/dev/null
check "with servers of its own" resolves chosen
equals "which are the only ones" 'nameserver 198.51.100.54
nameserver 2001:db8:2::54' "$(resolv_conf chosen | grep nameserver)"
contains "beside the host's domains" '^search example.test' "$(resolv_conf chosen)"
refused "servers that are no addresses" 126 container wrong --annotation io.netkitd.dns=one.one -- true
contains "are refused by name in status" 'io.netkitd.dns.*one.one.*is not an IP address' "$(netkitctl status)"

podman pod create --name pod --network none >/dev/null
podman run --detach --name member --hooks-dir "$hooks_dir" --pod pod --annotation io.netkitd.network=default \
    busybox sleep 1000 >/dev/null
check "in a member of a pod" resolves member
podman restart --time 0 member >/dev/null
check "and again when it was restarted" resolves member

host_resolver 'nameserver 198.51.100.54'
podman restart --time 0 plain >/dev/null
equals "a restart brings the host's new servers" 'nameserver 198.51.100.54' "$(resolv_conf plain | grep -v '^#')"

# systemd-resolved.
host_resolver 'nameserver 127.0.0.53' 'options edns0 trust-ad' 'search .'
mkdir -p /run/systemd/resolve
printf 'nameserver 198.51.100.53\nsearch corp.example\n' >/run/systemd/resolve/resolv.conf
podman restart --time 0 plain >/dev/null
check "of systemd-resolved the real servers count" resolves plain
contains "and are named" 'from /run/systemd/resolve/resolv.conf' "$(resolv_conf plain)"
contains "by doctor too" 'ok +name-servers +containers ask 198.51.100.53' "$(netkitctl doctor || :)"
rm -r /run/systemd/resolve

# A resolver of the host's own, of which nothing more is known.
host_resolver 'nameserver 127.0.0.1' 'nameserver fe80::1%up0'
podman restart --time 0 plain >/dev/null
contains "a resolver on loopback is not for containers: its resolv.conf says so" \
    '^# .*127.0.0.1 listens on .*loopback.*fe80::1%up0 is a link-local.*io.netkitd.dns' "$(resolv_conf plain)"
contains "so does status" 'names do not resolve in containers: .*127.0.0.1' "$(netkitctl status)"
contains "and doctor" 'warn +name-servers .*127.0.0.1 listens' "$(netkitctl doctor || :)"
podman restart --time 0 own >/dev/null
equals "an image's own is not hidden by that" "$(<"$scratch/own.conf")" "$(resolv_conf own)"

host_resolver 'nameserver 198.51.100.53'
for runtime in crun runc; do
    bundle "$scratch/$runtime" "$runtime-1" sleep 1000
    "$runtime" run --detach --bundle "$scratch/$runtime" "$runtime-1" </dev/null
    contains "in a bundle of $runtime" "\\b$far4\\b" "$("$runtime" exec "$runtime-1" nslookup web.example.test 2>&1 || :)"
    "$runtime" delete --force "$runtime-1"
done
verdict
