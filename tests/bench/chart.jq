# The traffic's results as an SVG: for each path and test a bar, its length the part of the bare host's figure.
["TCP_RR", "TCP_CRR", "TCP_STREAM", "UDP_RR"] as $tests
| {TCP_RR: "#1f6feb", TCP_CRR: "#2da44e", TCP_STREAM: "#bf8700", UDP_RR: "#8250df"} as $colours
| {"4": 1, "6": 0.55} as $opacity
| {left: 170, width: 460, bar: 9, gap: 14, top: 46} as $at

| map(select(.ratio_to_host) | . + {name: (.test | split("/")[0]), family: (.test | split("/")[1])})
| . as $all
| (reduce .[].path as $path ([]; if index([$path]) then . else . + [$path] end) - ["host"]) as $paths

# One list of all bars, each with its place.
| reduce $paths[] as $path ({y: $at.top, items: []};
    .y as $start
    | reduce ($tests[] as $test | $all[] | select(.path == $path and .name == $test)) as $bar (.;
        .items += ["<rect x='\($at.left)' y='\(.y)' width='\($bar.ratio_to_host * $at.width | round)' height='\($at.bar - 1)' "
            + "fill='\($colours[$bar.name])' fill-opacity='\($opacity[$bar.family])'/>"
            + "<text x='\($at.left + 4 + ($bar.ratio_to_host * $at.width | round))' y='\(.y + 7)' font-size='8'>"
            + "\($bar.ratio_to_host)\(if $bar.family == "6" then " v6" else "" end)</text>"]
        | .y += $at.bar)
    | .items += ["<text x='\($at.left - 8)' y='\((.y + $start) / 2 + 4)' text-anchor='end'>\($path)</text>"]
    | .y += $at.gap)
| .y as $bottom
| [ "<svg xmlns='http://www.w3.org/2000/svg' width='700' height='\($bottom + 10)' font-family='sans-serif' font-size='12'>",
    "<rect width='100%' height='100%' fill='white'/>",
    "<text x='10' y='18' font-size='13'>Part of the bare host's throughput, counted in instructions (light: IPv6)</text>",
    ($tests | to_entries[] | "<rect x='\($at.left + .key * 110)' y='27' width='10' height='10' fill='\($colours[.value])'/>"
        + "<text x='\($at.left + 15 + .key * 110)' y='36'>\(.value)</text>"),
    "<line x1='\($at.left + $at.width)' x2='\($at.left + $at.width)' y1='42' y2='\($bottom)' stroke='#888' stroke-dasharray='3'/>",
    .items[], "</svg>" ] | join("\n")
