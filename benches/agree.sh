#!/usr/bin/env bash
# Does `query` measure what pgbench measures? The same statement, connections and protocol, in turn.
#
#   benches/agree.sh [RUNS] [SECONDS] [PATTERN]
#
# For each setting: the rate and the mean latency that each program reports, and the 99th percentile, which for
# pgbench is taken from its raw log; medians over the runs, and the ratio. One query is in flight on each
# connection at a time, with a Sync of its own, as pgbench does it. With a rate, latencies count from when a query
# was due in both programs. Where a statement takes the server only microseconds, as by-id does, the figures are as
# much those of the two clients, which differ. PATTERN picks settings by their titles. Then what recording the times
# costs: the rate of pipelined look-ups with and without.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-7} seconds=${2:-5} pattern=${3:-}

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

# Each prints: rate, mean ms, p99 ms.
with_pgbench() { # workload connections flags…
    rm -f "$work"/log*
    pgbench -n -M prepared -c "$2" -j "$(($2 < 2 ? 1 : 2))" -T "$seconds" -f "$work/$1.sql" \
        -l --log-prefix="$work/log" "${@:3}" "$url" >"$work/out" 2>/dev/null
    local rate mean p99
    rate=$(awk '/^tps/ { print $3 }' "$work/out")
    # The mean of the log, because with a rate the report's own leaves out what was skipped.
    mean=$(cat "$work"/log* | awk '{ sum += $3 } END { print sum / NR / 1000 }')
    p99=$(cat "$work"/log* | awk '{ print $3 }' | sort -n | awk '{ v[NR] = $1 } END { print v[int(NR * 0.99 + 0.999)] / 1000 }')
    echo "$rate $mean $p99"
}
with_etl() { # workload connections flags…
    "$etl" query -q "$1" -c "$2" -d 1 --sync-every 1 --duration "${seconds}s" --json "${@:3}" |
        python3 -c '
import json, sys
run = json.load(sys.stdin)
response = run["response_us"]
print(run["queries_per_second"], response["mean"] / 1000, response["p99"] / 1000)'
}
median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
column() { awk -v n="$2" '{ print $n }' "$work/$1" | median; }

compare() { # title workload connections pgbench-flags etl-flags
    [[ $1 =~ $pattern ]] || return 0
    rm -f "$work"/pgbench "$work"/etl
    for ((run = 0; run < runs; run++)); do
        # shellcheck disable=SC2086
        with_pgbench "$2" "$3" $4 >>"$work/pgbench"
        # shellcheck disable=SC2086
        with_etl "$2" "$3" $5 >>"$work/etl"
    done
    echo "$1, $runs runs of $seconds s of each in turn"
    printf '  %-10s %12s %12s %8s\n' '' pgbench query ratio
    for figure in 'rate/s 1' 'mean_ms 2' 'p99_ms 3'; do
        read -r name n <<<"$figure"
        awk -v name="$name" -v a="$(column pgbench "$n")" -v b="$(column etl "$n")" \
            'BEGIN { printf "  %-10s %12.3f %12.3f %8.3f\n", name, a, b, b / a }'
    done
}

grep '^  server' "$work/report" | sed 's/ *server *//'
compare 'older-than, 1 connection' older-than 1 '' ''
compare 'older-than, 3 connections' older-than 3 '' ''
compare 'older-than, 8 connections' older-than 8 '' ''
compare 'older-than, 4 connections, 150 a second' older-than 4 '-R 150' '--rate 150'
compare 'by-id, 1 connection' by-id 1 '' ''
compare 'by-id, 4 connections, 2,000 a second' by-id 4 '-R 2000' '--rate 2000'

[[ recording =~ $pattern ]] || exit 0
rate() { "$etl" query -q by-id -n 400000 -c 4 -d 256 --json "$@" | awk -F'[:,]' '/"queries_per_second"/ { print $2 }'; }
for ((run = 0; run < runs; run++)); do
    rate >>"$work/with"
    rate --no-latency >>"$work/without"
done
awk -v a="$(median <"$work/without")" -v b="$(median <"$work/with")" \
    'BEGIN { printf "recording, by-id pipelined: %.0f/s with, %.0f/s without: costs %.1f %%\n", b, a, (1 - b / a) * 100 }'
