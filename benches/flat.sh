#!/usr/bin/env bash
# Shows how `load` grows with its file: time per row and peak resident memory, in each mode.
#
#   benches/flat.sh [ROWS…]
#
# and what one field of 100 MB takes. 83000000 rows are a file of 5 GB; from 10000001 rows on only copy is run.
set -euo pipefail
cd "$(dirname "$0")/.."
sizes=("${@:-100000 1000000 10000000}")
read -ra sizes <<<"${sizes[*]}"

cargo build --release --quiet
etl=target/release/postgres-etl
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What was run, rows, bytes, seconds, microseconds a row, peak memory in MiB and as a part of the file.
measure() {
    local what=$1 file=$2
    shift 2
    /usr/bin/time -f '%M' -o "$work/peak" "$etl" load --json -q "$file" "$@" >"$work/report"
    local bytes rows seconds
    bytes=$(stat -c %s "$file")
    rows=$(grep -o '"rows_loaded": [0-9]*' "$work/report" | tail -c +16)
    seconds=$(grep -m 1 -o '"seconds": [0-9.]*' "$work/report" | tail -c +12)
    awk -v what="$what" -v rows="$rows" -v bytes="$bytes" -v seconds="$seconds" -v peak="$(cat "$work/peak")" 'BEGIN {
        printf "%-16s %10.0f %12.0f %8.2f %10.3f %9.1f\n", what, rows, bytes, seconds, seconds / rows * 1e6, peak / 1024 }'
}

printf '%-16s %10s %12s %8s %10s %9s\n' '' rows bytes seconds 'us a row' 'peak MiB'
for rows in "${sizes[@]}"; do
    "$etl" generate -q -n "$rows" -o "$work/persons.csv" >"$work/generated"
    for mode in copy batch rows; do
        [ "$mode" = copy ] || [ "$rows" -le 10000000 ] || continue
        measure "$mode" "$work/persons.csv" --mode "$mode"
    done
    rm "$work/persons.csv"
done

url=$("$etl" server url -q)
psql -qX "$url" -c 'DROP TABLE IF EXISTS etl_flat' -c 'CREATE TABLE etl_flat (id int, field text)' 2>"$work/notices"
{ printf 'id,field\n1,"' && head -c 100000000 /dev/zero | tr '\0' x && printf '"\n'; } >"$work/field.csv"
for mode in copy batch rows; do
    measure "100 MB, $mode" "$work/field.csv" --mode "$mode" -t etl_flat --truncate --max-record-bytes 200000000
done
psql -qX "$url" -c 'DROP TABLE etl_flat'
