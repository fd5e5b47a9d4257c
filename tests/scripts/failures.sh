#!/bin/bash
# What tests/run shows at its end of the tests that failed, from ctest's report.
set -euo pipefail
# shellcheck source=tests/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"

cat >"$scratch/report.xml" <<'END_OF_REPORT'
<testsuite name="(empty)" tests="4" failures="3">
	<testcase name="netns.good" classname="netns.good" time="0.1" status="run">
		<system-out>fine
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
equals "the tests that failed, and what they said" "$expected" "$(tests/lib/failures "$scratch/report.xml")"

rm -rf --one-file-system "$scratch"
verdict
