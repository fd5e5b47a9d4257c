#!/bin/bash
# What tests/run shows at its end: the tests that failed or were skipped, from ctest's report, and the table of suites.
set -euo pipefail
# shellcheck source=tests/commands_test/lib.sh
. "$(dirname -- "$0")/lib.sh"

cat >"$scratch/report.xml" <<'END_OF_REPORT'
<testsuite name="(empty)" tests="8" failures="3" skipped="3">
	<testcase name="netns.good" classname="netns.good" time="0.1" status="run">
		<system-out>fine
</system-out>
	</testcase>
	<testcase name="bpf.many" classname="bpf.many" time="0.1" status="run">
		<system-out>many.cpp:7: Skipped
IPv4 has &quot;none&quot;

[  PASSED  ] 7 tests.
[  SKIPPED ] 1 test.
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
	<testcase name="unit.gone" classname="unit.gone" time="0" status="notrun">
		<skipped message="Unable to find executable: unit_gone_test"/>
		<system-out>Unable to find executable: unit_gone_test
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
          status:  3
FAILED unit.gone
    did not run: Unable to find executable: unit_gone_test'
equals "the tests that failed, and what they said" "$expected" "$(tests/commands/failures "$scratch/report.xml")"
expected='skipped in bpf.many, many.cpp:7: IPv4 has "none"
skipped netns.unasked: this kernel has "netkit"
skipped e2e.unasked: no bonding'
equals "those that were skipped, and why" "$expected" "$(tests/commands/skips "$scratch/report.xml")"

# suite NAME ORDER STATUS: as tests/commands/suite leaves it.
suite() {
    printf 'suite=%s\norder=%s\ntook_ms=61500\ncore_ms=90040\nalone_ms=50000\nstatus=%s\n' "$@" >"$scratch/results/$1"
}
mkdir "$scratch/results"
suite unit 2 0
sed 's/failures="3"/failures="0"/; s/skipped="3"/skipped="2"/; /Unable/d' "$scratch/report.xml" >"$scratch/results/unit.xml"
suite build 1 0
check "all passed: the summary says so by its status" tests/commands/summary "$scratch/results" unit build
expected='suite          verdict        took      alone      cores   tests
build          passed       61.5 s     50.0 s     90.0 s
unit           passed       61.5 s     50.0 s     90.0 s   6 passed, 0 failed, 2 skipped
6 passed, 0 failed, 2 skipped'
equals "the table, in the order in which they ran" "$expected" "$(tail -n 4 "$scratch/output")"
suite netns 3 1
cp "$scratch/report.xml" "$scratch/results/netns.xml"
refused "a suite that failed" 1 tests/commands/summary "$scratch/results" build unit netns
contains "is in the table" '^netns +FAILED .*2 passed, 4 failed, 2 skipped' "$(<"$scratch/output")"
contains "and its tests are named" '^FAILED netns.crashed' "$(<"$scratch/output")"
equals "the sum comes last" '8 passed, 4 failed, 4 skipped' "$(tail -n 1 "$scratch/output")"
suite demo 4 1
rm "$scratch/results/netns"*
refused "one that reports no tests" 1 tests/commands/summary "$scratch/results" build unit demo
refused "one that did not run" 1 tests/commands/summary "$scratch/results" build unit bpf
contains "is in the table" '^bpf +NOT RUN' "$(<"$scratch/output")"
refused "no suite at all is a failure" 1 tests/commands/summary "$scratch/results"

# value NAME: of what was measured.
value() {
    sed -n "s/^$1=//p" "$scratch/measured"
}
refused "what is measured keeps its status" 7 tests/commands/measured "$scratch/measured" bash -c 'sleep 1; exit 7'
check "its time is the clock's" test "$(value took_ms)" -ge 1000
check "sleeping takes no processor" test "$(value core_ms)" -lt 900
check "alone it would not take longer" test "$(value alone_ms)" -le "$(value took_ms)"

rm -rf --one-file-system "$scratch"
verdict
