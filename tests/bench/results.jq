# Lines "kernel path test value" become objects; a value that is no number ("-": this path does not have it) becomes null.

# The host that a path is compared with: where others begin, the host as a server.
def host:
  if .path | test("^host-serving-") then "host-serving-bound"
  elif .path | test("^(published|host-serving)") then "host-serving"
  elif .path | test("^host-loopback") then "host-loopback"
  else "host" end;
def in_table($path): "\($path) \(.kernel) \(.test)";

[inputs | split("\t") | {kernel: .[0], path: .[1], test: .[2], value: (.[3] | tonumber? // null)}]
| (map(select(.path == host and .value != null) | {key: in_table(.path), value: .value}) | from_entries) as $hosts
| map($hosts[in_table(host)] as $base
      | . + {ratio_to_host: (if .value and $base then .value / $base * 1000 | round / 1000 else null end)})
