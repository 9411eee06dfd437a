#!/usr/bin/env python3
"""The same loads, checks and queries on a Citus cluster and on an ordinary server.

    CITUS_DATABASE_URL=$(scripts/citus-up) benches/citus.py [ROUNDS] [--rows N] [--only TEXT] [--ordinary URL]

Both servers get a schema citus_bench with tables of made-up people: on the cluster distributed by the primary key, over 8
shards. In each of ROUNDS rounds (5) after a warm-up, each operation runs on both servers, in alternating order, each time
after a checkpoint on all nodes. The medians are printed as a table in Markdown, with the median, the lowest and the highest
of the rounds' ratios; then how `load` compares with psql, and `query` with pgbench, on each server. What loads leave in the
tables has to be what the file has: number of rows and sum of their hashes.

Without --ordinary, the script starts and stops an ordinary server, with the settings of the nodes of scripts/citus-up. If
settings differ all the same, both values are printed. Citus turns on TLS; clients use none, unless PGSSLMODE says
otherwise. `load` has --no-analyze, as psql does not analyze either. --rows is the size of the large table (1,000,000), of
which others have a tenth or a fiftieth; --only picks operations by a part of their titles; ETL names a program to use
instead of a new build.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

from common import COLUMNS, own_server, program, sh, spread

SCHEMA, SHARDS, CONNECTIONS, DEPTH, SECONDS = "citus_bench", 8, 8, 200, 3
BY_ID = f"SELECT name FROM {SCHEMA}.people WHERE id = $1"
OLDER_THAN = f"SELECT count(*) FROM {SCHEMA}.people WHERE age > $1"


class Server:
    def __init__(self, url, is_citus, etl, files):
        self.url, self.is_citus, self.etl, self.files = url, is_citus, etl, files

    def psql(self, *statements):
        command = ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", self.url, "-c", "SET client_min_messages = warning"]
        return sh(*command, *(part for text in statements for part in ("-c", text)), cwd=self.files).strip()

    def run(self, *arguments, code=0):
        return sh(self.etl, *arguments, "--no-env-file", "--database-url", self.url, code=code, cwd=self.files)

    def create(self, table, *indexes):
        distribute = f"SELECT create_distributed_table('{SCHEMA}.{table}', 'id', shard_count => {SHARDS})"
        self.psql(f"CREATE TABLE {SCHEMA}.{table} ({COLUMNS}, PRIMARY KEY (id))", distribute if self.is_citus else "",
                  *(f"CREATE INDEX ON {SCHEMA}.{table} ({columns})" for columns in indexes))

    def checkpoint(self):
        self.psql("SELECT run_command_on_all_nodes('CHECKPOINT')" if self.is_citus else "CHECKPOINT")

    def contents(self, table):
        """The number of rows, and the sum of their hashes."""
        row = "concat_ws(',', id, name, age, ismarried, city, state, country)"
        return self.psql(f"SELECT count(*), sum(hashtextextended({row}, 0)::numeric) FROM {SCHEMA}.{table}")


def timed(action, server, check=None):
    """The seconds of the action; its result has to pass the check."""
    began = time.monotonic()
    result = action(server)
    seconds = time.monotonic() - began
    if check and not check(server, result):
        sys.exit(f"not what was expected, on {server.url}: {result}")
    return seconds


class Bench:
    def __init__(self, servers, files, rows):
        self.servers, self.files = servers, files
        self.large, self.middle, self.small = rows, rows // 10, rows // 50
        self.duplicates = self.small // 10
        self.expected = {}
        for server in servers:
            server.psql(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", f"CREATE SCHEMA {SCHEMA}")
            for table in ["people", "loaded", "duplicates"]:
                server.create(table)
            server.create("indexed", "age", "country, city")
        for rows in (self.large, self.middle, self.small):
            servers[1].run("generate", "-n", rows, "-o", f"{rows}.csv", "-q")
            servers[1].psql(f"TRUNCATE {SCHEMA}.loaded", f"\\copy {SCHEMA}.loaded from {rows}.csv csv header")
            self.expected[rows] = servers[1].contents("loaded")
        for server in servers:
            server.psql(f"\\copy {SCHEMA}.people from {self.large}.csv csv header", f"VACUUM ANALYZE {SCHEMA}.people")
        header, *lines = (files / f"{self.small}.csv").read_text().splitlines(keepends=True)
        twice = (line * (2 if number % 10 == 0 else 1) for number, line in enumerate(lines))
        (files / "duplicates.csv").write_text(header + "".join(twice))
        lines = (files / f"{self.middle}.csv").read_text().splitlines(keepends=True)
        lines.insert(self.middle * 9 // 10, lines[self.middle // 2])
        (files / "duplicate.csv").write_text("".join(lines))
        (files / "one.csv").write_text(lines[0] + lines[1].replace("1,", f"{self.large + 1},", 1))

    def load(self, table, rows, *flags, file=None, code=0):
        def action(server):
            shards = ["--distribute-by", "id", "--shards", SHARDS] if "--create" in flags and server.is_citus else []
            return server.run("load", file or f"{rows}.csv", "-t", f"{SCHEMA}.{table}", "-q", "--no-analyze", *flags,
                              *shards, code=code)
        return lambda server: timed(action, server, lambda *_: server.contents(table) == self.expected[rows])

    def psql(self, rows):
        copy = ["BEGIN", f"TRUNCATE {SCHEMA}.loaded", f"\\copy {SCHEMA}.loaded from {rows}.csv csv header", "COMMIT"]
        exact = lambda server, _: server.contents("loaded") == self.expected[rows]
        return lambda server: timed(lambda server: server.psql(*copy), server, exact)

    def append(self, action):
        delete = f"DELETE FROM {SCHEMA}.people WHERE id > {self.large} RETURNING id"
        return lambda server: timed(action, server, lambda *_: server.psql(delete) == str(self.large + 1))

    def check(self, server):
        return timed(lambda server: server.run("check", f"{self.large}.csv", "-t", f"{SCHEMA}.people", "-q"), server)

    def duplicate(self, server):
        load = lambda server: server.run("load", "duplicate.csv", "-t", f"{SCHEMA}.loaded", "--truncate", "-q", code=1)
        line = f"line {self.middle * 9 // 10 + 1:,}"
        return timed(load, server, lambda _, error: line in error or line.replace(",", "") in error)

    def analyze(self, server):
        return timed(lambda server: server.psql(f"ANALYZE {SCHEMA}.people"), server)

    def query(self, sql, argument, *flags, nodes=()):
        """Queries per second; `nodes` are flags for the cluster only."""
        def rate(server):
            report = json.loads(server.run("query", "--sql", sql, "--arg", argument, "-c", CONNECTIONS, "-T", SECONDS,
                                           "-n", 10**9, "--json", *flags, *(nodes if server.is_citus else ())))
            return report["queries_per_second"]
        return rate

    def pgbench(self, depth):
        look_up = f"\\set id random(1, {self.large})\n{BY_ID.replace('$1', ':id')};\n"
        script = self.files / f"pgbench-{depth}.sql"
        script.write_text(look_up if depth == 1 else f"\\startpipeline\n{look_up * depth}\\endpipeline\n")
        command = ["pgbench", "-n", "-M", "prepared", "-c", CONNECTIONS, "-j", 2, "-T", SECONDS, "-f", script]
        return lambda server: depth * float(sh(*command, server.url).partition("\ntps = ")[2].split()[0])

    def operations(self):
        """Return groups of what is measured, by title: seconds, or queries per second. If psql or pgbench is the last of a
        group, the others are compared with it."""
        large, middle, small, ids = f"{self.large:,}", f"{self.middle:,}", f"{self.small:,}", f"uniform:1:{self.large}"
        with_duplicates = lambda mode: self.load("duplicates", self.small, "--truncate", "-m", mode, "--max-rejects",
                                                 self.duplicates, file="duplicates.csv", code=3)
        load = lambda table, rows, *flags: self.load(table, rows, "--truncate", *flags)
        append = ["load", "one.csv", "-t", f"{SCHEMA}.people", "--append", "--no-analyze", "-q"]
        return [{
            f"`load --truncate` of {middle}": load("loaded", self.middle),
            f"psql, TRUNCATE and `\\copy` of {middle}": self.psql(self.middle),
        }, {
            f"`load --truncate` of {large}": load("loaded", self.large),
            f"psql, TRUNCATE and `\\copy` of {large}": self.psql(self.large),
        }, {
            f"`load --append` of one row to {large}": self.append(lambda server: server.run(*append)),
            f"psql, `\\copy` of one row to {large}": self.append(
                lambda server: server.psql(f"\\copy {SCHEMA}.people from one.csv csv header")),
        }, {
            f"`load --truncate --mode batch` of {middle}": load("loaded", self.middle, "-m", "batch"),
            f"`load --truncate --mode rows` of {small}": load("loaded", self.small, "-m", "rows"),
            f"`load --truncate` of {middle}, two more indexes": load("indexed", self.middle),
            f"`load --truncate` of {large}, two more indexes": load("indexed", self.large),
            **{f"`load --mode {mode} --max-rejects` of {small}, and {self.duplicates:,} duplicates": with_duplicates(mode)
               for mode in ["copy", "batch", "rows"]},
            f"`load` of {middle}, refused for one duplicate": self.duplicate,
            f"`load --create --replace` of {middle}": self.load("created", self.middle, "--create", "--replace"),
            f"ANALYZE of {large}, as after a load": self.analyze,
            f"`check` of a table of {large}": self.check,
        }, {
            "`query by-id`, 1 in flight, one Sync each": self.query(BY_ID, ids, "-d", 1, "--sync-every", 1),
            "pgbench by key": self.pgbench(1),
        }, {
            f"`query by-id`, {DEPTH} in flight": self.query(BY_ID, ids, "-d", DEPTH),
            f"`query by-id`, {DEPTH} in flight, on Citus with `--nodes auto`": self.query(
                BY_ID, ids, "-d", DEPTH, nodes=("--nodes", "auto")),
            f"pgbench by key, pipelines of {DEPTH}": self.pgbench(DEPTH),
        }, {
            f"`query older-than` of {large}, 1 in flight": self.query(OLDER_THAN, "uniform:22:65", "-d", 1),
        }]


def measure(operations, rounds, servers):
    """The figures of all rounds, on each server, by title."""
    measured = {title: ([], []) for title in operations}
    for number in range(rounds + 1):
        for title, run in operations.items():
            for which in (0, 1) if number % 2 else (1, 0):
                servers[which].checkpoint()
                figure = run(servers[which])
                if number > 0:
                    measured[title][which].append(figure)
        print(f"round {number} of {rounds} is done", file=sys.stderr)
    return measured


def show(measured, groups):
    is_rate = lambda title: title.startswith(("`query", "pgbench"))

    def figure(title, values):
        median = statistics.median(values)
        return f"{median:,.0f}/s" if is_rate(title) else f"{median:.2f} s" if median >= 1 else f"{median * 1e3:.0f} ms"

    def ratio(title, slow, fast):
        """How many times as fast: median, lowest and highest."""
        return spread([f / s if is_rate(title) else s / f for s, f in zip(slow, fast)])

    print("\n| | Citus | ordinary server | time on Citus / ordinary |\n| --- | ---: | ---: | ---: |")
    for title, own in measured.items():
        print(f"| {title} | {' | '.join(figure(title, values) for values in own)} | {ratio(title, *own)} |")
    print("\n| how many times as fast | Citus | ordinary server |\n| --- | ---: | ---: |")
    for group in groups:
        *all_ours, other = [title for title in group if title in measured] or [""]
        for ours in all_ours if other.startswith(("psql", "pgbench")) else []:
            ratios = [ratio(ours, *pair) for pair in zip(measured[other], measured[ours])]
            print(f"| {ours}, against {other} | {' | '.join(ratios)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", metavar="ROUNDS", type=int, nargs="?", default=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", default="")
    parser.add_argument("--ordinary")
    options = parser.parse_args()
    citus = os.environ.get("CITUS_DATABASE_URL") or parser.error("CITUS_DATABASE_URL names no cluster: see scripts/citus-up")
    etl = program()
    os.environ.setdefault("PGSSLMODE", "disable")
    with contextlib.ExitStack() as stack:
        files = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ordinary = options.ordinary or stack.enter_context(own_server())
        servers = [Server(citus, True, etl, files), Server(ordinary, False, etl, files)]
        for server in servers:
            stack.callback(server.psql, f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        bench = Bench(servers, files, options.rows)
        print(servers[0].psql("SELECT citus_version()"), f"{os.cpu_count()} cores, {options.rounds} rounds", sep="\n")
        for name in "server_version shared_buffers max_wal_size wal_level fsync synchronous_commit full_page_writes".split():
            values = [server.psql(f"SHOW {name}") for server in servers]
            print(f"{name} {values[0]}" + ("" if values[0] == values[1] else f", on the ordinary server {values[1]}"))
        groups = bench.operations()
        chosen = {title: run for group in groups for title, run in group.items() if options.only in title}
        show(measure(chosen, options.rounds, servers), groups)


if __name__ == "__main__":
    main()
