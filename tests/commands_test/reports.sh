#!/bin/bash
# What tests/run shows at its end of the tests that failed or were skipped, from ctest's report.
set -euo pipefail
# shellcheck source=tests/commands_test/lib.sh
. "$(dirname -- "$0")/lib.sh"

cat >"$scratch/report.xml" <<'END_OF_REPORT'
<testsuite name="(empty)" tests="6" failures="3" skipped="2">
	<testcase name="netns.good" classname="netns.good" time="0.1" status="run">
		<system-out>fine
</system-out>
	</testcase>
	<testcase name="netns.unasked" classname="netns.unasked" time="0.1" status="notrun">
		<skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
		<system-out>[ RUN      ] unasked
unasked.cpp:5: Skipped
this kernel has &quot;netkit&quot;

</system-out>
	</testcase>
	<testcase name="e2e.unasked" classname="e2e.unasked" time="0.1" status="notrun">
		<skipped message="SKIP_RETURN_CODE=77"/>
		<system-out>skipped: no bonding
</system-out>
	</testcase>
	<testcase name="netns.bad" classname="netns.bad" time="0.1" status="fail">
		<failure message=""/>
		<system-out>bad.cpp:3: Failure
Expected: (a &amp; b) &lt; c

netkitd: stopping
</system-out>
	</testcase>
	<testcase name="netns.crashed" classname="netns.crashed" time="0.1" status="fail">
		<failure message="SEGFAULT"/>
		<system-out>Running
</system-out>
	</testcase>
	<testcase name="e2e.bad" classname="e2e.bad" time="0.1" status="fail">
		<failure message="Failed"/>
		<properties>
			<property name="cmake_labels" value="e2e"/>
		</properties>
		<system-out>ok    one
FAIL  two
      status:  3
ok    three
</system-out>
	</testcase>
</testsuite>
END_OF_REPORT
expected='FAILED netns.bad
    bad.cpp:3: Failure
    Expected: (a & b) < c
FAILED netns.crashed
    Running
FAILED e2e.bad
    FAIL  two
          status:  3'
equals "the tests that failed, and what they said" "$expected" "$(tests/commands/failures "$scratch/report.xml")"
expected='skipped netns.unasked: this kernel has "netkit"
skipped e2e.unasked: no bonding'
equals "those that were skipped, and why" "$expected" "$(tests/commands/skips "$scratch/report.xml")"

rm -rf --one-file-system "$scratch"
verdict
