# The results as aligned text: a block for each kind of figure, a line for each path, a column for each test, or the
# other way round.
def fixed($digits):
    pow(10; $digits) as $unit
    | (. * $unit | round) as $all
    | "\($all / $unit | floor).\(("000" + ($all % $unit | tostring))[-$digits:])";

def number: if . >= 100 then round | tostring elif . >= 10 then fixed(1) else fixed(2) end;

def cell:
    if .value == null then (if .test | endswith("/6") then "no IPv6" else "-" end)
    elif .ratio_to_host then "\(.value | number)  \(.ratio_to_host | fixed(3))"
    else .value | number end;

def pad($width): . + " " * ($width - length) // .;
def pad_left($width): (" " * ($width - length) // "") + .;

# Paths of one kind share what is before the slash; those that carry traffic have none, and tests of two families.
def kind: if .path | contains("/") then .path | split("/")[0] else "IPv\(.test[-1:])" end;

def block:
    (.[0].kind) as $kind
    | (reduce .[].test as $test ([]; if index([$test]) then . else . + [$test] end)) as $tests
    | (reduce .[].path as $path ([]; if index([$path]) then . else . + [$path] end)) as $paths
    | . as $all
    | [["\($kind), Linux \(map(.kernel) | unique | join(", "))"] + ($tests | map(sub("/[46]$"; "")))]
      + [$paths[] as $path | [$path | sub("^\($kind)/"; "")]
         + [$tests[] as $test | [$all[] | select(.path == $path and .test == $test) | cell][0] // ""]]
    # What has more kinds of figures than paths would be too wide.
    | if ($kind | startswith("IPv") | not) and ($tests | length) > ($paths | length) then transpose else . end
    | (transpose | map(map(length) | max)) as $widths
    | map([.[0] | pad($widths[0])] + [range(1; length) as $i | .[$i] | pad_left($widths[$i] + 2)] | join(""))
    | join("\n");

map(. + {kind: kind})
| (reduce .[].kind as $kind ([]; if index([$kind]) then . else . + [$kind] end)) as $kinds
| . as $all
| [$kinds[] as $kind | $all | map(select(.kind == $kind)) | block] | join("\n\n")
