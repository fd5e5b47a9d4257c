# Lines "kernel path test value" become objects; a value that is no number ("-": this path does not have it) becomes null.
[inputs | split("\t") | {kernel: .[0], path: .[1], test: .[2], value: (.[3] | tonumber? // null)}]
| (map(select(.path == "host" and .value != null) | {key: "\(.kernel) \(.test)", value: .value}) | from_entries) as $host
| map($host["\(.kernel) \(.test)"] as $base
      | . + {ratio_to_host: (if .value and $base then .value / $base * 1000 | round / 1000 else null end)})
