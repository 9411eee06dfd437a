#!/usr/bin/env python3
"""The same loads, checks and queries on a Citus cluster and on an ordinary server.

    CITUS_DATABASE_URL=$(scripts/citus-up) benches/citus.py [ROUNDS] [--rows N] [--only TEXT] [--ordinary URL]

Both servers get a schema citus_bench with tables of made-up people: on the cluster distributed by the primary key, over 8
shards. In each of ROUNDS rounds (5) after a warm-up, each operation runs on both servers, in alternating order, each time
after a checkpoint on all nodes. The medians are printed as a table in Markdown, with the median, the lowest and the highest
of the rounds' ratios; then how `load` compares with psql, and `query` with pgbench, on each server. What loads leave in the
tables has to be what the file has: number of rows and sum of their hashes.

Without --ordinary, the script starts and stops an ordinary server, with the settings of the nodes of scripts/citus-up.
Settings that differ nevertheless are printed. Citus turns on TLS; clients use none, unless PGSSLMODE says otherwise. `load`
analyzes the table, as it does by default, and psql does not. --rows is the size of the large table (1,000,000), of which
others have a tenth or a fiftieth; --only picks operations by a part of their titles; ETL names a program to use instead of a
new build.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

SCHEMA, SHARDS, CONNECTIONS, DEPTH, SECONDS = "citus_bench", 8, 8, 200, 3
COLUMNS = """(id integer PRIMARY KEY, name text NOT NULL, age smallint NOT NULL, ismarried boolean NOT NULL,
    city text NOT NULL, state text NOT NULL, country text NOT NULL)"""
BY_ID = f"SELECT name FROM {SCHEMA}.people WHERE id = $1"
OLDER_THAN = f"SELECT count(*) FROM {SCHEMA}.people WHERE age > $1"


def sh(*command, code=0, cwd="/"):
    """What the command printed: on standard output, or on standard error if it has to end with another code than 0."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd)
    if done.returncode != code:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stderr if code else done.stdout


@contextlib.contextmanager
def own_server():
    """The URL of an ordinary server, which is stopped in the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        # The server refuses to run as root.
        run_as = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        if run_as:
            shutil.chown(directory, "postgres")
        programs, data = sh(os.environ.get("PG_CONFIG", "pg_config"), "--bindir").strip(), f"{directory}/data"
        sh(*run_as, f"{programs}/initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", data)
        settings = f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200"
        control = [*run_as, f"{programs}/pg_ctl", "-D", data, "-w", "-s"]
        # Not by `sh`, which would wait until the server closes its standard output.
        subprocess.run([*control, "start", "-l", f"{directory}/log", "-o", settings], check=True, cwd="/")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            sh(*control, "stop", "-m", "fast")


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
        self.psql(f"CREATE TABLE {SCHEMA}.{table} {COLUMNS}", distribute if self.is_citus else "",
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
            return server.run("load", file or f"{rows}.csv", "-t", f"{SCHEMA}.{table}", "-q", *flags, *shards, code=code)
        return lambda server: timed(action, server, lambda *_: server.contents(table) == self.expected[rows])

    def psql(self, rows):
        copy = ["BEGIN", f"TRUNCATE {SCHEMA}.loaded", f"\\copy {SCHEMA}.loaded from {rows}.csv csv header", "COMMIT"]
        exact = lambda server, _: server.contents("loaded") == self.expected[rows]
        return lambda server: timed(lambda server: server.psql(*copy), server, exact)

    def append(self, server):
        load = lambda server: server.run("load", "one.csv", "-t", f"{SCHEMA}.people", "--append", "-q")
        delete = f"DELETE FROM {SCHEMA}.people WHERE id > {self.large} RETURNING id"
        return timed(load, server, lambda *_: server.psql(delete) == str(self.large + 1))

    def check(self, server):
        return timed(lambda server: server.run("check", f"{self.large}.csv", "-t", f"{SCHEMA}.people", "-q"), server)

    def duplicate(self, server):
        load = lambda server: server.run("load", "duplicate.csv", "-t", f"{SCHEMA}.loaded", "--truncate", "-q", code=1)
        line = f"line {self.middle * 9 // 10 + 1:,}"
        return timed(load, server, lambda _, error: line in error or line.replace(",", "") in error)

    def query(self, sql, argument, *flags):
        def rate(server):
            report = json.loads(server.run("query", "--sql", sql, "--arg", argument, "-c", CONNECTIONS, "-T", SECONDS,
                                           "-n", 10**9, "--json", *flags))
            return report["queries_per_second"]
        return rate

    def pgbench(self, depth):
        look_up = f"\\set id random(1, {self.large})\n{BY_ID.replace('$1', ':id')};\n"
        script = self.files / f"pgbench-{depth}.sql"
        script.write_text(look_up if depth == 1 else f"\\startpipeline\n{look_up * depth}\\endpipeline\n")
        command = ["pgbench", "-n", "-M", "prepared", "-c", CONNECTIONS, "-j", 2, "-T", SECONDS, "-f", script]
        return lambda server: depth * float(sh(*command, server.url).partition("\ntps = ")[2].split()[0])

    def operations(self):
        """What is measured, by title: seconds, or queries per second. Another program's comes right after ours."""
        large, middle, small, ids = f"{self.large:,}", f"{self.middle:,}", f"{self.small:,}", f"uniform:1:{self.large}"
        with_duplicates = lambda mode: self.load("duplicates", self.small, "--truncate", "-m", mode, "--max-rejects",
                                                 self.duplicates, file="duplicates.csv", code=3)
        return {
            f"`load --truncate` of {middle}": self.load("loaded", self.middle, "--truncate"),
            f"psql, TRUNCATE and `\\copy` of {middle}": self.psql(self.middle),
            f"`load --truncate` of {large}": self.load("loaded", self.large, "--truncate"),
            f"psql, TRUNCATE and `\\copy` of {large}": self.psql(self.large),
            f"`load --truncate --mode batch` of {middle}": self.load("loaded", self.middle, "--truncate", "-m", "batch"),
            f"`load --truncate --mode rows` of {small}": self.load("loaded", self.small, "--truncate", "-m", "rows"),
            f"`load --truncate` of {middle}, two more indexes": self.load("indexed", self.middle, "--truncate"),
            f"`load --truncate` of {large}, two more indexes": self.load("indexed", self.large, "--truncate"),
            f"`load --append` of one row to {large}": self.append,
            f"`check` of a table of {large}": self.check,
            **{f"`load --mode {mode} --max-rejects` of {small}, and {self.duplicates:,} duplicates": with_duplicates(mode)
               for mode in ["copy", "batch", "rows"]},
            f"`load` of {middle}, refused for one duplicate": self.duplicate,
            f"`load --create --replace` of {middle}": self.load("created", self.middle, "--create", "--replace"),
            "`query by-id`, 1 in flight, one Sync each": self.query(BY_ID, ids, "-d", 1, "--sync-every", 1),
            "pgbench by key": self.pgbench(1),
            "`query by-id`, 8 in flight": self.query(BY_ID, ids, "-d", 8),
            f"`query by-id`, {DEPTH} in flight": self.query(BY_ID, ids, "-d", DEPTH),
            f"pgbench by key, pipelines of {DEPTH}": self.pgbench(DEPTH),
            f"`query older-than` of {large}, 1 in flight": self.query(OLDER_THAN, "uniform:22:65", "-d", 1),
        }


def measure(bench, rounds, only):
    """The figures of all rounds, on each server, by title."""
    chosen = {title: run for title, run in bench.operations().items() if only in title}
    measured = {title: ([], []) for title in chosen}
    for number in range(rounds + 1):
        for title, run in chosen.items():
            for which in (0, 1) if number % 2 else (1, 0):
                bench.servers[which].checkpoint()
                figure = run(bench.servers[which])
                if number > 0:
                    measured[title][which].append(figure)
        print(f"round {number} of {rounds} is done", file=sys.stderr)
    return measured


def show(measured):
    is_rate = lambda title: title.startswith(("`query", "pgbench"))

    def figure(title, values):
        median = statistics.median(values)
        return f"{median:,.0f}/s" if is_rate(title) else f"{median:.2f} s" if median >= 1 else f"{median * 1e3:.0f} ms"

    def ratio(title, slow, fast):
        """How many times as fast: median, lowest and highest."""
        ratios = [f / s if is_rate(title) else s / f for s, f in zip(slow, fast)]
        return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"

    print("\n| | Citus | ordinary server | time on Citus / ordinary |\n| --- | ---: | ---: | ---: |")
    for title, own in measured.items():
        print(f"| {title} | {' | '.join(figure(title, values) for values in own)} | {ratio(title, *own)} |")
    print("\n| how many times as fast | Citus | ordinary server |\n| --- | ---: | ---: |")
    for ours, other in zip(measured, list(measured)[1:]):
        if ours.startswith("`") and not other.startswith("`"):
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
    root = pathlib.Path(__file__).resolve().parent.parent
    if not (etl := os.environ.get("ETL")):
        subprocess.run(["cargo", "build", "--release", "--quiet"], check=True, cwd=root)
        etl = root / "target/release/postgres-etl"
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
        show(measure(bench, options.rounds, options.only))


if __name__ == "__main__":
    main()
