#!/usr/bin/env bash
# Does `query` tell change from noise? Equal runs should not differ significantly, and a slowdown of 5 % should.
#
#   benches/equal.sh [COMPARISONS] [RUN]
#
# COMPARISONS (40) of by-id with itself, of 10 runs of RUN (1s) on each side: interleaved by --against-sql, and one side
# after the other by --baseline. Of each it prints in how many any of the seven figures was significant, which should be
# 4 in 40 at most, and how often each figure was. Then 10 comparisons of a statement of about 20 ms with the same and
# pg_sleep(0.001), of which the rate should be significantly lower in at least 8. Use a quiet machine: --baseline takes
# what changes there between the two sides for a change of the server.
set -euo pipefail
cd "$(dirname "$0")/.."
comparisons=${1:-40} run=${2:-1s}

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
"$etl" load -q --no-env-file --database-url "$url" >"$work/report"
query=("$etl" query -q --database-url "$url" -c 2 -d 1 --duration "$run" --runs 10 --json)
by_id=$(awk '/^\[query.by-id\]/ { found = 1 } found && /^sql/ { gsub(/^sql = "|"$/, ""); print; exit }' config.toml)

significant() { awk '/"figure"/ { figure = $2 } /"significant": true/ { gsub(/[",]/, "", figure); printf "%s ", figure }' "$1"; }

summary() { # title, reads a line of significant figures for each comparison
    awk -v title="$1" '{ if (NF) any++; for (i = 1; i <= NF; i++) by[$i]++ }
        END { printf "%-24s any figure in %d of %d", title, any, NR; for (f in by) printf ", %s %d", f, by[f]; print "" }'
}

interleaved() {
    for ((i = 0; i < comparisons; i++)); do
        "${query[@]}" by-id --seed "$i" --against-sql "$by_id" >"$work/now"
        echo "$(significant "$work/now")"
    done
}

one_after_another() {
    for ((i = 0; i < comparisons; i++)); do
        "${query[@]}" by-id --seed "$i" --save "$work/before" >"$work/now"
        "${query[@]}" by-id --seed "$i" --baseline "$work/before" >"$work/now"
        echo "$(significant "$work/now")"
    done
}

slower() { # flags…
    "${query[@]}" --sql "SELECT count(*), (SELECT pg_sleep(0.001)) FROM generate_series(1, \$1)" --arg "$rows" "$@"
}

grep '^  server' "$work/report" | sed 's/ *server *//'
interleaved | summary "equal, interleaved"
one_after_another | summary "equal, --baseline"

plain="SELECT count(*), NULL FROM generate_series(1, \$1)"
mean=$("$etl" query -q --database-url "$url" -c 2 -d 1 --duration 2s --json --sql "$plain" --arg 100000 |
    awk -F'[:,]' '/"mean"/ { print $2; exit }')
rows=$(awk -v mean="$mean" 'BEGIN { printf "%d", 100000 * 20000 / mean }')
for ((i = 0; i < 10; i++)); do
    slower --seed "$i" --against-sql "$plain" >"$work/now"
    awk '/"figure": "rate"/ { ratio = 0 } /"ratio"/ && !ratio { ratio = $2 } END { printf "%s ", ratio + 0 > "/dev/stderr" }' "$work/now"
    echo "$(significant "$work/now")"
done | summary "5 % slower"
