#!/bin/bash
# tests/vm runs a command in the checkout wherever that is, in a guest that hides places of its own, and passes on what
# it says and ends with.
set -euo pipefail
# shellcheck source=tests/commands_test/lib.sh
. "$(dirname -- "$0")/lib.sh"

# This sandbox's own root serves as the build root, as in sandbox.sh; what the product does is not asked here.
root=$(root_path)
mkdir "$root"
mount --bind / "$root"
place=$scratch/checkout # in /tmp, which is a file system of its own in the sandbox and in the guest
mkdir "$place"
cp -a tests "$place"
printf '#!/bin/bash\n' >"$place/tests/commands/build-tree"
cd "$place"

# shellcheck disable=SC2016 # the $ is for the guest
in_guest='echo "$PWD"; uname -r; touch written; cat /proc/1/comm; stat --file-system --format=%T /tmp; exit 7'
for init in vm-command systemd; do
    options=()
    [[ $init != systemd ]] || options=(--systemd)
    refused "with $init as init: the exit status is the command's" 7 tests/vm "${options[@]}" bash -c "$in_guest"
    said=$(<"$scratch/output")
    contains "it runs in the checkout" "$place" "$said"
    contains "on the VM's kernel" 6.12 "$said"
    contains "with that init" "$init" "$said"
    contains "and a /tmp of its own" tmpfs "$said"
    check "what it writes into the checkout is there" rm "$place/written"
done

export NETKITD_VM_TIMEOUT=5s
refused "a VM that hangs is ended" 255 tests/vm sleep 1000
contains "and that is said" 'still running after 5s' "$(<"$scratch/output")"

cd /
umount "$root"
rm -rf --one-file-system "$scratch"
verdict
