#!/usr/bin/env bash
# Loads and queries through PgBouncer, in session and in transaction mode.
#
#   benches/poolers.sh [RUNS] [PGBOUNCER…]
#
# For each program named (by default the installed `pgbouncer`) and each pool mode: whether two loads at once, of
# different values into different tables, leave each table with its own rows and nothing else ("exact", "MIXED UP", or the
# error with which the load was refused); and look-ups by key per second on 8 connections through the same pooler, of
# `query`, which keeps several in flight on each, of `pgbench -M extended` with one, and of pgbench's pipeline of 100. The
# contenders alternate in each of RUNS rounds (by default 7); the medians are printed, and their ratios to `pgbench -M
# extended`, as a table in Markdown. ETL names a program to use instead of a new build.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-7}
shift || true
[ $# -gt 0 ] || set -- pgbouncer

etl=${ETL:-}
if [ -z "$etl" ]; then
    cargo build --release --quiet
    etl=$PWD/target/release/postgres-etl
fi
work=$(mktemp -d)
pooler=
trap '[ -z "$pooler" ] || kill "$pooler"; rm -rf "$work"' EXIT
chmod 755 "$work"
url=$("$etl" server url -q)
socket=$(psql -qAtX "$url" -c "SELECT trim('\"' FROM current_setting('unix_socket_directories'))")
user=$(psql -qAtX "$url" -c 'SELECT current_user')
# The server admits its owner and root by peer authentication, and PgBouncer does not run as root.
owner=$(stat -c %U "$socket/.s.PGSQL.5432")
"$etl" load -q >/dev/null
for name in a b; do
    awk -v v="$name" 'BEGIN { print "v"; for (row = 0; row < 20000; row++) print v }' >"$work/$name.csv"
done

start() { # program pool mode
    mkdir -p "$work/socket" && chmod 777 "$work/socket"
    cat >"$work/pgbouncer.ini" <<INI
[databases]
* = host=$socket port=5432 user=$user
[pgbouncer]
auth_type = any
listen_addr =
listen_port = 6432
unix_socket_dir = $work/socket
pool_mode = $2
default_pool_size = 20
log_connections = 0
log_disconnections = 0
INI
    local as=()
    [ "$(id -u)" != 0 ] || as=(setpriv --reuid "$owner" --regid "$owner" --clear-groups)
    "${as[@]}" "$1" "$work/pgbouncer.ini" >"$work/log" 2>&1 &
    pooler=$!
    for _ in $(seq 100); do [ -S "$work/socket/.s.PGSQL.6432" ] && break || sleep 0.1; done
    through="postgresql:///postgres?host=$work/socket&port=6432&user=$user"
}

load() { # flags…
    psql -qX "$url" -c 'DROP TABLE IF EXISTS ta, tb' -c 'CREATE TABLE ta (v text)' -c 'CREATE TABLE tb (v text)' 2>/dev/null
    "$etl" load -q --append --database-url "$through" "$work/a.csv" -t ta "$@" >/dev/null 2>"$work/error" &
    local first=$! status=0
    "$etl" load -q --append --database-url "$through" "$work/b.csv" -t tb "$@" >/dev/null 2>"$work/error" || status=1
    wait "$first" || status=1
    if [ "$status" != 0 ]; then
        grep -o 'SQLSTATE [0-9A-Z]*' "$work/error" | head -n 1 || echo refused
    elif [ "$(psql -qAtX "$url" -c "SELECT (SELECT count(*) FILTER (WHERE v = 'a') = count(*) AND count(*) = 20000 FROM ta)
            AND (SELECT count(*) FILTER (WHERE v = 'b') = count(*) AND count(*) = 20000 FROM tb)")" = t ]; then
        echo exact
    else
        echo 'MIXED UP'
    fi
}

etl_rate() { # flags…
    "$etl" query -q by-id --connections 8 -n 200000 --json --database-url "$through" "$@" 2>/dev/null |
        awk -F'[:,]' '/"errors":/ { errors = $2 } /"queries_per_second"/ { print (errors > 0 ? 0 : $2); exit }'
}
pgbench_rate() { # script, transactions on each connection, statements in each
    pgbench -n -M extended -c 8 -j 2 -t "$2" -f "$1" "$through" 2>/dev/null | awk -v n="$3" '/^tps/ { print $3 * n }'
}
median() { sort -n | awk '{ v[NR] = $1 } END { printf "%d\n", v[int((NR + 1) / 2)] }'; }
grouped() { printf '%d' "$1" | sed ':a;s/\B[0-9]\{3\}\>/,&/;ta'; }
look_up=('\set id random(1, 100000)' 'SELECT name FROM persons WHERE id = :id;')
printf '%s\n' "${look_up[@]}" >"$work/by-id.sql"
{
    echo '\startpipeline'
    for _ in $(seq 100); do printf '%s\n' "${look_up[@]}"; done
    echo '\endpipeline'
} >"$work/pipeline.sql"

contenders=('query --protocol prepared' 'query --pipeline-depth 100' 'query --protocol unnamed' 'query --protocol simple' 'pgbench -M extended'
    'pgbench -M extended, pipeline of 100')
rate_of() { # contender
    case "$1" in
        # shellcheck disable=SC2086
        query*) etl_rate ${1#query } ;;
        *pipeline*) pgbench_rate "$work/pipeline.sql" 200 100 ;;
        *) pgbench_rate "$work/by-id.sql" 5000 1 ;;
    esac
}

# The table, column by column: what was found of each row.
rows=() columns=()
declare -A cells
add() { # row, cell
    [ -n "${cells[$1]+x}" ] || rows+=("$1")
    cells[$1]+="${cells[$1]:+ | }$2"
}
for program in "$@"; do
    version=$("$program" --version | awk 'NR == 1 { print $2 }')
    for mode in session transaction; do
        start "$program" "$mode"
        columns+=("$version, $mode")
        for way in '--mode rows' '--mode rows --autocommit --connections 4' '--mode batch' '--mode copy'; do
            for prepare in auto always never; do
                # shellcheck disable=SC2086
                add "\`load $way --prepare $prepare\`" "$(load $way --prepare "$prepare")"
            done
        done
        rm -f "$work"/rate.*
        for _ in $(seq "$runs"); do
            for index in "${!contenders[@]}"; do
                rate_of "${contenders[$index]}" >>"$work/rate.$index"
            done
        done
        base=$(median <"$work/rate.4")
        for index in "${!contenders[@]}"; do
            rate=$(median <"$work/rate.$index")
            ratio=$(awk -v a="$rate" -v b="$base" 'BEGIN { printf "%.2f", a / b }')
            add "\`${contenders[$index]}\`" "$(grouped "$rate")/s, $ratio ×"
        done
        kill "$pooler" && wait "$pooler" 2>/dev/null || true
        pooler=
        rm -rf "$work/socket"
        echo "done: PgBouncer $version, $mode" >&2
    done
done
printf '| PgBouncer |%s\n' "$(printf ' %s |' "${columns[@]}")"
printf '| --- |%s\n' "$(for _ in "${columns[@]}"; do printf ' --- |'; done)"
for row in "${rows[@]}"; do printf '| %s | %s |\n' "$row" "${cells[$row]}"; done
