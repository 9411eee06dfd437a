#!/usr/bin/env bash
# Does `query` tell change from noise? Equal runs should not differ significantly, and a slowdown of 5 % should.
#
#   benches/equal.sh [COMPARISONS] [RUN] [PATTERN]
#
# COMPARISONS (40) of by-id with itself, of 10 runs of RUN (1s) on each side: interleaved by --against-sql, and one side
# after the other by --baseline. Of each it prints in how many any of the seven figures was significant, which should be
# 4 in 40 at most, and how often each figure was. Then 10 comparisons, over one connection, of a statement of about 10 ms of
# work and 10 ms of pg_sleep with the same and 11 ms of pg_sleep, of which at least 8 should find a significant slowdown in
# a figure. The ratios of the rate, on a line of their own, show that it was one of 5 %. PATTERN picks parts by their
# titles. Use a quiet machine: --baseline takes what changes there between the two sides for a change of the server.
set -euo pipefail
cd "$(dirname "$0")/.."
comparisons=${1:-40} run=${2:-1s} pattern=${3:-}

[[ -n ${ETL:-} ]] || cargo build --release --quiet
etl=${ETL:-target/release/postgres-etl}
work=$(mktemp -d)
# A server of its own, because `load` empties persons, which on the default server may be someone else's. As root, the
# server's user has to enter the directory.
chmod 755 "$work"
export POSTGRES_ETL_SERVER_DIR="$work/server"
unset DATABASE_URL PGHOST PGHOSTADDR PGSERVICE
trap '"$etl" server stop -q >"$work/stopped" 2>&1 || cat "$work/stopped"; rm -rf "$work"' EXIT
url=$("$etl" server url -q --no-env-file)
[[ $url == *"$work/server"* ]] || { echo "the server is not the script's own: $url" >&2; exit 1; }
"$etl" load --no-env-file --database-url "$url" >"$work/report"
query=("$etl" query -q --database-url "$url" -d 1 --duration "$run" --runs 10 --json)
by_id=$(awk '/^\[query.by-id\]/ { found = 1 } found && /^sql/ { gsub(/^sql = "|"$/, ""); print; exit }' config.toml)

significant() { awk '/"figure"/ { figure = $2 } /"significant": true/ { gsub(/[",]/, "", figure); printf "%s ", figure }' "$1"; }

summary() { # title, reads a line of significant figures for each comparison
    awk -v title="$1" '{ if (NF) any++; for (i = 1; i <= NF; i++) by[$i]++ }
        END { printf "%-24s any figure in %d of %d", title, any, NR; for (f in by) printf ", %s %d", f, by[f]; print "" }'
}

interleaved() {
    for ((i = 0; i < comparisons; i++)); do
        "${query[@]}" -c 2 by-id --seed "$i" --against-sql "$by_id" >"$work/now"
        echo "$(significant "$work/now")"
    done
}

one_after_another() {
    for ((i = 0; i < comparisons; i++)); do
        "${query[@]}" -c 2 by-id --seed "$i" --save "$work/before" >"$work/now"
        "${query[@]}" -c 2 by-id --seed "$i" --baseline "$work/before" >"$work/now"
        echo "$(significant "$work/now")"
    done
}

# The server sleeps whole milliseconds, rounded up, and rounds 0.010 and 0.011 up to 11 and 12 now and then: what is left
# of them after the subtraction of two times may be a little more. Half a millisecond less is 10 and 11 ms always.
TEN_MS=0.0095 ELEVEN_MS=0.0105

slower() {
    local work_of="SELECT count(*), (SELECT pg_sleep(%s)) FROM generate_series(1, \$1)" rows i
    # The median latency of the statement with this many rows, in microseconds: of the fastest of some runs, because
    # whatever else runs makes the work seem longer than it is.
    took() {
        # shellcheck disable=SC2059 # the format is the statement
        "${query[@]}" -c 1 --arg "$1" --sql "$(printf "$work_of" "$TEN_MS")" |
            awk -F'[:,]' '/"figure": "p50"/ { found = 1 } found && /"min"/ { print $2; exit }'
    }
    # The same sleep around it, because a processor is slower after a rest.
    rows=$(awk -v some="$(took 100000)" -v none="$(took 1)" 'BEGIN { printf "%d", 100000 * 10000 / (some - none) }')
    for ((i = 0; i < 10; i++)); do
        # shellcheck disable=SC2059 # the format is the statement
        "${query[@]}" -c 1 --seed "$i" --arg "$rows" --sql "$(printf "$work_of" "$ELEVEN_MS")" \
            --against-sql "$(printf "$work_of" "$TEN_MS")" >"$work/now"
        awk -F'[:,]' '/"ratios"/ { found = 1 } found && /"ratio":/ { printf "%.3f ", $2; exit }' "$work/now" >>"$work/ratios"
        echo "$(significant "$work/now")"
    done
}

part() { # title, function
    [[ $1 == *"$pattern"* ]] || return 0
    "$2" | summary "$1"
}

grep '^  server' "$work/report" | sed 's/ *server *//'
part "equal, interleaved" interleaved
part "5 % slower" slower
[[ ! -f $work/ratios ]] || echo "  ratios of the rate: $(<"$work/ratios")"
part "equal, --baseline" one_after_another
