#!/bin/bash
# What a newcomer types wrong is answered with what is right, and nothing is begun.
set -euo pipefail
# shellcheck source=tests/commands_test/lib.sh
. "$(dirname -- "$0")/lib.sh"

# It may still read the checkout, wherever that is.
nobody=(setpriv --reuid 65534 --inh-caps +dac_override --ambient-caps +dac_override --)

for script in tests/demo tests/run tests/sandbox tests/vm; do
    refused "$script has to run as root" 1 "${nobody[@]}" "$script" true
    contains "and shows the line to type" "^  sudo $script true" "$(<"$scratch/output")"
done

refused "tests/run refuses a suite that it does not know" 2 tests/run unit nonsense
contains "and names those that there are" "'nonsense'; there are: .*unit.*e2e" "$(<"$scratch/output")"
refused "tests/run refuses an option that it does not know" 2 tests/run --fast unit
contains "and shows the usage" "^usage: tests/run" "$(<"$scratch/output")"
refused "tests/run --repeat wants a number" 2 tests/run --repeat often unit
refused "tests/run --repeat wants one suite" 2 tests/run --repeat 2 unit bpf
refused "tests/run -R wants --repeat" 2 tests/run unit -R Parse
contains "and says so" "-R goes with --repeat" "$(<"$scratch/output")"
refused "tests/vm refuses a kernel that it does not have" 2 tests/vm --kernel 5.4 true
contains "and names those that there are" '6.12\|7.3' "$(<"$scratch/output")"
refused "tests/vm without a command" 2 tests/vm
refused "tests/sandbox without a command" 1 tests/sandbox
refused "tests/demo takes no arguments" 1 tests/demo now
equals "nothing was begun" '' "$(ls -A "$NETKITD_CACHE")"

rm -rf "$scratch"
verdict
