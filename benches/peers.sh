#!/usr/bin/env bash
# Measures what the program claims, against other programs that do the same work, in turn: A B C A B C …
#
#   benches/peers.sh [RUNS] [WORK…]
#
#   lookups    point look-ups: pgbench, with pipelines and without; client CPU with a Sync for each query
#   rows       100,000 people row by row: a sqlx program, and an asyncpg one if it can be run (below)
#   copy       1,000,000 people: psql's \copy and the server's COPY of a binary file of its own, on our server
#   copy-default  the same on a server with PostgreSQL's default settings
#   counts     counts that the server takes milliseconds for: the same statement looped in the server
#   generate   1,000,000 made-up people: a program of fake, serde and csv
#   tune       not by default: look-ups with other --connections, --pipeline-depth and --sync-every
#
# Every figure goes to target/peers/raw.tsv (work, contender, run, figure) as it is measured; a table of the medians
# follows at the end. Times are those of whole commands, in seconds; the rates of look-ups and counts are queries a
# second as each program reports them; `cpu` is user and system time of the whole command in microseconds a query;
# `memory` is the peak resident memory in KiB.
#
# Needs bash, GNU time, psql and pgbench 14 or newer, PostgreSQL's own programs (in PG_BIN, in PATH or in
# /usr/lib/postgresql/*/bin) and, as root, runuser and the user postgres. The other programs are built from
# benches/peers. For asyncpg: `python3 -m venv target/peers-venv && target/peers-venv/bin/pip install asyncpg`.
# Everything runs on this machine, on the server that `postgres-etl server` runs, whose table persons is filled anew,
# and on one that is made for the occasion: leave the machine to itself meanwhile, or the figures say little.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-7}
works=("${@:2}")
[ ${#works[@]} -gt 0 ] || works=(lookups rows copy copy-default counts generate)

# A whole number of pipelines of 256 on each of 4 connections, and of queries on each of 16.
queries=$((4 * 256 * 98))
counts=2000
# On the plateau that `tune` found: a connection for each of 2 cores, 64 to 256 in flight, 64 to 256 per Sync.
window=(--connections 2 --pipeline-depth 128)
every=64

cargo build --release --quiet
cargo build --release --quiet --locked --manifest-path benches/peers/Cargo.toml --target-dir target/peers-build
etl=target/release/postgres-etl
peers=target/peers-build/release
python=target/peers-venv/bin/python
out=target/peers
mkdir -p "$out"
raw=$out/raw.tsv
: >"$raw"

# Not under a temporary file system, which never waits for a disk; and short, for the sockets.
work=$(mktemp -d "${TMPDIR:-/var/tmp}/peers.XXXXXX")
bin=${PG_BIN:-}
as_server=()
if [ "$(id -u)" = 0 ]; then
    # The servers run as postgres then, and have to reach their directories in here.
    as_server=(runuser -u postgres --)
    chmod 755 "$work"
fi
default_server=
finish() {
    if [ -f "$default_server/postmaster.pid" ]; then
        "${as_server[@]}" "$bin/pg_ctl" -D "$default_server" -m fast -w stop >"$work/stop" || return
    fi
    rm -rf "$work"
}
trap finish EXIT

TIMEFORMAT='%3R %3U %3S'
measure() { # command…; leaves $seconds, $cpu (seconds too) and $peak, and what it printed in $work/out
    local user system
    { time /usr/bin/time -q -f %M -o "$work/peak" "$@" >"$work/out" 2>"$work/err"; } 2>"$work/time" || {
        echo "failed: $*" && cat "$work/err"
        exit 1
    } >&2
    read -r seconds user system <"$work/time"
    cpu=$(awk -v a="$user" -v b="$system" 'BEGIN { print a + b }')
    peak=$(cat "$work/peak")
}
note() { # work contender figure
    printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$run" "$3" >>"$raw"
}
directory_for_server() {
    mkdir "$1"
    [ "$(id -u)" != 0 ] || chown postgres "$1"
}
people() { # rows; once
    [ -f "$work/$1.csv" ] || "$etl" generate -q -n "$1" -o "$work/$1.csv" >"$work/out"
}
# So that one contender does not pay for what another left to be written.
settle() { psql -qX "$1" -c CHECKPOINT; }

url=$("$etl" server url -q)
on_ours=(--database-url "$url")

# A table that stands still: autovacuum would else come by in the middle.
prepare_table() {
    people 100000
    "$etl" load -q "${on_ours[@]}" "$work/100000.csv" >"$work/report"
    psql -qX "$url" -c 'VACUUM ANALYZE persons'
}

prepare_lookups() {
    prepare_table
    printf '%s\n' '\set id random(1, 100000)' 'SELECT name FROM persons WHERE id = :id;' >"$work/by-id.sql"
    {
        echo '\startpipeline'
        for ((i = 0; i < 256; i++)); do cat "$work/by-id.sql"; done
        echo '\endpipeline'
    } >"$work/by-id-256.sql"
}
measure_query() { # workload queries flags…; leaves $rate too
    measure "$etl" query -q --json "${on_ours[@]}" "$1" -n "$2" "${@:3}"
    rate=$(awk -F '[:,]' '/"queries_per_second"/ { print $2 + 0 }' "$work/out")
}
measure_pgbench() { # statements in a transaction, flags…; leaves $rate too
    measure pgbench -n "${@:2}" "$url"
    rate=$(awk -v statements="$1" '/^tps/ { print $3 * statements }' "$work/out")
}
note_cpu() { note cpu "$1" "$(awk -v cpu="$cpu" -v queries="$queries" 'BEGIN { print cpu / queries * 1e6 }')"; }
run_lookups() {
    measure_query by-id "$queries" "${window[@]}" --sync-every "$every"
    note lookups query "$rate"
    note_cpu query
    measure_pgbench 256 -M prepared -c 4 -j 2 -t $((queries / 4 / 256)) -f "$work/by-id-256.sql"
    note lookups 'pgbench, pipelines of 256, 4 connections' "$rate"
    note_cpu 'pgbench, pipelines of 256, 4 connections'
    measure_pgbench 1 -M prepared -c 16 -j 2 -t $((queries / 16)) -f "$work/by-id.sql"
    note lookups 'pgbench, no pipelines, 16 connections' "$rate"
    note_cpu 'pgbench, no pipelines, 16 connections'
    measure_query by-id "$queries" "${window[@]}" --sync-every 1
    note lookups 'query --sync-every 1' "$rate"
    note_cpu 'query --sync-every 1'
}

prepare_tune() { prepare_table; }
run_tune() {
    for connections in 2 3 4 6; do
        for depth in 32 64 128 256 512; do
            for sync in 16 32 64 128 256; do
                [ "$sync" -le "$depth" ] || continue
                measure_query by-id "$queries" -c "$connections" -d "$depth" --sync-every "$sync"
                note tune "-c $connections -d $depth --sync-every $sync" "$rate"
            done
        done
    done
}

prepare_rows() { people 100000; }
run_rows() {
    local name
    for name in rows autocommit batch copy sqlx asyncpg; do
        local load=("$etl" load -q "${on_ours[@]}" "$work/100000.csv")
        case $name in
        rows | batch | copy) load+=(--mode "$name") ;;
        autocommit) load+=(--mode rows --autocommit --connections 20) ;;
        sqlx) load=("$peers/sqlx-load" "$url" "$work/100000.csv") ;;
        asyncpg)
            [ -x "$python" ] || continue
            load=("$python" benches/peers/asyncpg_load.py "$url" "$work/100000.csv")
            ;;
        esac
        settle "$url"
        measure "${load[@]}"
        # Whatever printed no error has still to have loaded them all.
        psql -AtX "$url" -c 'SELECT count(*) FROM persons' | grep -x 100000 >"$work/out" || {
            echo "$name did not load all" >&2
            exit 1
        }
        note rows "$name" "$seconds"
        note memory "$name, 100,000 people" "$peak"
    done
}

# \copy does not analyze the table, so we do not either.
no_analyze=()
# Not `grep -q`, which would leave before all is written.
if "$etl" load --help | grep -e --no-analyze >"$work/out"; then no_analyze=(--no-analyze); fi

prepare_copies() { # url
    people 1000000
    "$etl" load -q --database-url "$1" "$work/1000000.csv" "${no_analyze[@]}" >"$work/report"
    [ -d "$work/binary" ] || directory_for_server "$work/binary"
    psql -qX "$1" -c "COPY persons TO '$work/binary/persons' (FORMAT binary)"
    printf '%s\n' 'TRUNCATE persons;' "\\copy persons from '$work/1000000.csv' csv header" >"$work/copy.sql"
    printf '%s\n' 'TRUNCATE persons;' "COPY persons FROM '$work/binary/persons' (FORMAT binary);" >"$work/server.sql"
}
run_copies() { # work url
    settle "$2"
    measure "$etl" load -q --database-url "$2" "$work/1000000.csv" --mode copy "${no_analyze[@]}"
    note "$1" load "$seconds"
    note memory 'copy, 1,000,000 people' "$peak"
    settle "$2"
    measure psql -qX "$2" -v ON_ERROR_STOP=1 -1 -f "$work/copy.sql"
    note "$1" "psql \\copy" "$seconds"
    settle "$2"
    measure psql -qX "$2" -v ON_ERROR_STOP=1 -1 -f "$work/server.sql"
    note "$1" 'COPY FROM a binary file' "$seconds"
}
prepare_copy() { prepare_copies "$url"; }
run_copy() { run_copies copy "$url"; }

prepare_copy-default() {
    if [ -z "$bin" ]; then
        bin=$(command -v initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1)
        bin=$(dirname "$(readlink -f "$bin")")
    fi
    directory_for_server "$work/server"
    "${as_server[@]}" "$bin/initdb" -A trust -U postgres -D "$work/server/data" >"$work/initdb"
    default_server=$work/server/data
    "${as_server[@]}" "$bin/pg_ctl" -D "$default_server" -l "$work/server/log" -w \
        -o "-c listen_addresses= -c unix_socket_directories=$work/server -c port=5432" start >"$work/start"
    default_url="postgresql:///postgres?host=$work/server&port=5432&user=postgres"
    prepare_copies "$default_url"
}
run_copy-default() { run_copies copy-default "$default_url"; }

prepare_counts() { prepare_table; }
run_counts() {
    local backends
    for backends in 2 20; do
        measure_query older-than "$counts" --connections "$backends"
        note counts "query, $backends connections" "$rate"
        # The age is drawn before the statement: inside it, random() would be evaluated for each row. pgbench only
        # connects: the clock starts when all are there.
        cat >"$work/counts.sql" <<SQL
DO \$\$
DECLARE
    least smallint;
    people bigint;
BEGIN
    FOR i IN 1..$((counts / backends)) LOOP
        least := 22 + floor(random() * 44);
        SELECT COUNT(*) INTO people FROM persons WHERE age > least;
    END LOOP;
END \$\$;
SQL
        measure_pgbench $((counts / backends)) -c "$backends" -j 2 -t 1 -f "$work/counts.sql"
        note counts "PL/pgSQL loop, $backends backends" "$rate"
    done
}

prepare_generate() { :; }
run_generate() {
    measure "$etl" generate -q -n 1000000 -o "$work/generated.csv"
    note generate generate "$seconds"
    rm "$work/generated.csv"
    measure "$peers/fake-generate" 1000000 "$work/generated.csv"
    note generate 'fake, serde, csv' "$seconds"
    rm "$work/generated.csv"
}

started=$SECONDS
for name in "${works[@]}"; do
    "prepare_$name"
    for ((run = 1; run <= runs; run++)); do "run_$name"; done
done

echo "$(git describe --always --dirty), $runs runs of each in turn, $((SECONDS - started)) s, $(nproc) cores, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
show() { printf '%s: ' "$1" && psql -AtX -F ', ' "$2" -c "SELECT string_agg(name || ' ' || current_setting(name), ', ')
    FROM unnest('{server_version,fsync,synchronous_commit,full_page_writes,wal_level,shared_buffers}'::text[]) name"; }
show 'our server' "$url"
[ -z "$default_server" ] || show 'default server' "$default_url"
echo "look-ups: query ${window[*]} --sync-every $every"
echo

# Ratios: of rates, ours to theirs; of times, theirs to ours; of `cpu`, ours to theirs, where less is better.
sort -t $'\t' -k 1,1 -k 2,2 -k 4,4g "$raw" | awk -F '\t' '
    { key = $1 "\t" $2; figure[key, ++n[key]] = $4 }
    function median(key) { return (figure[key, int((n[key] + 1) / 2)] + figure[key, int(n[key] / 2) + 1]) / 2 }
    function brief(x) { return sprintf(x >= 1000 ? "%.0f" : x >= 20 ? "%.1f" : "%.3f", x) }
    function all(key) { return brief(median(key)) " (" brief(figure[key, 1]) " to " brief(figure[key, n[key]]) ")" }
    function row(what, work, ours, theirs, kind, required,    us, them, ratio, met) {
        us = work "\t" ours; them = work "\t" theirs
        if (!(us in n) || !(them in n)) return
        ratio = kind == "seconds" ? median(them) / median(us) : median(us) / median(them)
        met = kind == "us of CPU" ? ratio <= required : ratio >= required
        if (required != "") required = (kind == "us of CPU" ? "at most " : "") required (met ? "" : ", missed")
        printf "| %s, %s | %s | %s | %s | %s | %.2f | %s |\n", what, kind, ours, all(us), theirs, all(them), ratio, required
    }
    END {
        print "| work | ours | median (least to most) | theirs | median (least to most) | ratio | required |"
        print "| --- | --- | --- | --- | --- | --- | --- |"
        row("look-ups", "lookups", "query", "pgbench, pipelines of 256, 4 connections", "queries/s", 1.25)
        row("look-ups", "lookups", "query", "pgbench, no pipelines, 16 connections", "queries/s", 4)
        row("look-ups", "cpu", "query", "query --sync-every 1", "us of CPU", 0.6)
        row("100,000 people", "rows", "rows", "sqlx", "seconds", 15)
        row("100,000 people", "rows", "autocommit", "sqlx", "seconds", 1.4)
        row("100,000 people", "rows", "rows", "asyncpg", "seconds", "")
        row("100,000 people", "rows", "autocommit", "asyncpg", "seconds", "")
        row("1,000,000 people, our server", "copy", "load", "psql \\copy", "seconds", 1.6)
        row("1,000,000 people, our server", "copy", "load", "COPY FROM a binary file", "seconds", 1)
        row("1,000,000 people, default server", "copy-default", "load", "psql \\copy", "seconds", 1.6)
        row("1,000,000 people, default server", "copy-default", "load", "COPY FROM a binary file", "seconds", 1)
        for (c = 2; c <= 20; c += 18)
            row("counts", "counts", "query, " c " connections", "PL/pgSQL loop, " c " backends", "queries/s", 0.95)
        row("1,000,000 people made up", "generate", "generate", "fake, serde, csv", "seconds", 5)
        for (key in n) if (key ~ /^memory\t/) {
            peak = figure[key, n[key]]
            name = substr(key, 8)
            printf "| peak memory | %s | %.1f MiB | | | | %s |\n", name, peak / 1024,
                name ~ /^(sqlx|asyncpg)/ ? "" : "under 48 MiB" (peak < 48 * 1024 ? "" : ", missed")
        }
        for (key in n) if (key ~ /^tune\t/) printf "| look-ups, queries/s | query %s | %s | | | | |\n", substr(key, 6), all(key)
    }'
echo
echo "Every figure: $raw"
