#!/usr/bin/env bash
# Loads and queries through PgBouncer, in session and in transaction mode.
#
#   benches/poolers.sh [RUNS] [PGBOUNCER…]
#
# For each program named (by default the installed `pgbouncer`) and each pool mode it prints, first, whether two loads
# at once, of different values into different tables, leave each table with its own rows and nothing else: "exact",
# "MIXED UP", or the error with which the load was refused. Then it prints look-ups by key per second of `query`, which
# keeps several in flight on each connection, and of `pgbench -M extended`, through the same pooler (median of RUNS).
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5}
shift || true
[ $# -gt 0 ] || set -- pgbouncer

cargo build --release --quiet
etl=$PWD/target/release/postgres-etl
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
        awk -F'[:,]' '/"errors":/ { errors = $2 } /queries_per_second/ { print (errors > 0 ? 0 : $2) }'
}
pgbench_rate() {
    pgbench -n -M extended -c 8 -j 2 -t 5000 -f "$work/by-id.sql" "$through" 2>/dev/null | awk '/^tps/ { print $3 }'
}
median() { sort -n | awk '{ v[NR] = $1 } END { printf "%d\n", v[int((NR + 1) / 2)] }'; }
printf '%s\n' '\set id random(1, 100000)' 'SELECT name FROM persons WHERE id = :id;' >"$work/by-id.sql"

for program in "$@"; do
    for mode in session transaction; do
        start "$program" "$mode"
        printf '%s, pool_mode = %s\n' "$("$program" --version | head -n 1)" "$mode"
        for prepare in auto always never; do
            for way in '--mode rows' '--mode rows --autocommit --connections 4' '--mode batch' '--mode copy'; do
                # shellcheck disable=SC2086
                printf '  load %-42s --prepare %-7s %s\n' "$way" "$prepare" "$(load $way --prepare "$prepare")"
            done
        done
        for protocol in prepared unnamed simple; do
            rate=$(for _ in $(seq "$runs"); do etl_rate --protocol "$protocol"; done | median)
            printf '  query --protocol %-10s %9d look-ups/s\n' "$protocol" "$rate"
        done
        printf '  pgbench -M extended         %9d look-ups/s\n' "$(for _ in $(seq "$runs"); do pgbench_rate; done | median)"
        kill "$pooler" && wait "$pooler" 2>/dev/null || true
        pooler=
        rm -rf "$work/socket"
    done
done
