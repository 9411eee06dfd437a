#!/usr/bin/env bash
# Compares `query` with pgbench: the same statement, the same number of connections, the same server, in turn.
#
#   benches/query.sh [RUNS] [QUERIES]
#
# Prints queries per second as each program reports them (median, min, max). pgbench keeps one query in flight
# on each connection; `query` does so with --pipeline-depth 1, and more by default.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5} queries=${2:-100000}

cargo build --release --quiet
etl=target/release/postgres-etl
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
url=$("$etl" server url -q)
"$etl" load -q >"$work/report"
cat >"$work/by-id.sql" <<'SQL'
\set id random(1, 100000)
SELECT name FROM persons WHERE id = :id;
SQL
cat >"$work/older-than.sql" <<'SQL'
\set age random(22, 65)
SELECT COUNT(*) FROM persons WHERE age > :age;
SQL

pgbench_rate() { # workload connections queries
    pgbench -n -M prepared -c "$2" -j 2 -t $(($3 / $2)) -f "$work/$1.sql" "$url" 2>/dev/null |
        awk '/^tps/ { print $3 }'
}
etl_rate() { # workload connections queries flags…
    "$etl" query -q "$1" --connections "$2" -n "$3" --json "${@:4}" | awk -F'[:,]' '/queries_per_second/ { print $2 }'
}
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { printf "%10.0f %10.0f %10.0f\n", v[int((NR + 1) / 2)], v[1], v[NR] }'; }

compare() { # workload connections queries
    rm -f "$work"/rate-*
    for ((run = 0; run < runs; run++)); do
        pgbench_rate "$@" >>"$work/rate-pgbench"
        etl_rate "$@" --pipeline-depth 1 >>"$work/rate-depth-1"
        etl_rate "$@" >>"$work/rate-default"
    done
    echo "$1, $2 connections, $3 queries, $runs runs of each in turn"
    printf '  %-28s %10s %10s %10s\n' 'queries/s' median min max
    printf '  %-28s %s\n' 'pgbench -M prepared' "$(median "$work/rate-pgbench")"
    printf '  %-28s %s\n' 'query --pipeline-depth 1' "$(median "$work/rate-depth-1")"
    printf '  %-28s %s\n' 'query' "$(median "$work/rate-default")"
}

grep '^  server' "$work/report" | sed 's/ *server *//'
compare by-id 20 "$queries"
compare older-than 20 $((queries / 50))
