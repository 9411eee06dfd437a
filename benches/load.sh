#!/usr/bin/env bash
# Compares the modes of `load` with each other and with psql's \copy of the same file into the same table.
#
#   benches/load.sh [RUNS] [ROWS]
#
# Everything runs against the embedded server, in turn: A B C A B C … Prints, for each, the whole command's wall
# time (median, min, max, in seconds) and its peak resident memory. psql empties the table before \copy, as
# `load` does, and `load` leaves out its ANALYZE, as psql does.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5} rows=${2:-100000}

cargo build --release --quiet
etl=target/release/postgres-etl
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$etl" generate -q -n "$rows" -o "$work/persons.csv"
url=$("$etl" server url -q)
"$etl" load -q --no-analyze "$work/persons.csv" >"$work/report"

echo "\\copy persons from '$work/persons.csv' csv header" >"$work/copy.sql"

once() { # what to run once
    case $1 in
    rows | batch | copy) "$etl" load -q --no-analyze "$work/persons.csv" --mode "$1" ;;
    autocommit) "$etl" load -q --no-analyze "$work/persons.csv" --mode rows --autocommit --connections 20 ;;
    psql) psql -qX "$url" -1 -c 'TRUNCATE persons' -f "$work/copy.sql" ;;
    esac
}
export -f once
export etl work url

names=(rows autocommit batch copy psql)
# Most of the time would else go to the slowest, which takes as many times longer.
[ "$rows" -le 200000 ] || names=(rows batch copy psql)

for ((run = 0; run <= runs; run++)); do
    for name in "${names[@]}"; do
        /usr/bin/time -f '%e %M' -o "$work/time" bash -c "once $name" >/dev/null
        # The first round only warms up.
        [ "$run" = 0 ] || cat "$work/time" >>"$work/$name"
    done
done

echo "$rows rows, $runs runs of each in turn; $(grep '^  server' "$work/report" | sed 's/ *server *//')"
printf '%-12s %8s %8s %8s %10s\n' '' median min max 'peak KiB'
for name in "${names[@]}"; do
    sort -n "$work/$name" | awk -v name="$name" '
        { seconds[NR] = $1; if ($2 > peak) peak = $2 }
        END { printf "%-12s %8.2f %8.2f %8.2f %10d\n", name, seconds[int((NR + 1) / 2)], seconds[1], seconds[NR], peak }'
done
