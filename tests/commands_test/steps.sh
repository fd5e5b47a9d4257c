#!/bin/bash
# A step of the scripts ends when its command does, whoever has that one's process number then.
set -euo pipefail
# shellcheck source=tests/commands_test/lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/commands/common.sh
. tests/commands/common.sh

# As a busy machine's, whose numbers come round.
# shellcheck disable=SC2016 # the $ is for the command
give_number_away='
    setsid bash -c "while kill -0 $$ 2>/dev/null; do :; done
        echo $(($$ - 1)) >/proc/sys/kernel/ns_last_pid; sleep 60 & wait" &
    exec sleep 0.5'
began=$SECONDS
check "a step ends well" step "$scratch/log" "a step" bash -c "$give_number_away"
check "and when its command does" test $((SECONDS - began)) -lt 30
refused "its status is the command's" 3 step "$scratch/log" "a step" bash -c 'exit 3'
verdict
