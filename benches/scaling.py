#!/usr/bin/env python3
"""Partitioned tables, standbys and several threads, against psql and pgbench on the same servers.

    benches/scaling.py [--rounds N] [--rows N] [--only PART,…]

PART is one of hash, range, append-hash, append-range, replicas and threads. The script starts and stops its own servers on
loopback, with default settings. After a warm-up, the contenders of a part run in turn in each of 7 rounds (--rounds), in
the opposite order every other round. A checkpoint precedes each load. Their medians are printed as tables in Markdown; the
last column says how many times as fast the first contender is: the median of the rounds' ratios, with the lowest and the
highest. What loads leave in the table has to be what the file has: number of rows and sum of their hashes. ETL names a
program to use instead of a new build.

hash and range replace all rows of a table of four partitions with a primary key and an index; append-hash and append-range
append to the same table, emptied beforehand, and keep its indexes. For psql with two sessions, the file was split
beforehand, by partitions or into halves. In replicas, loads go to the primary of three hosts, of which two are standbys,
and look-ups to the standbys.
"""

import argparse
import contextlib
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

from common import COLUMNS, own_server, program, sh, spread

PARTS = ["hash", "range", "append-hash", "append-range", "replicas", "threads"]
LEAVES, SESSIONS, CONNECTIONS, DEPTH, SECONDS = 4, 2, 8, 64, 3
BY_ID = "SELECT name FROM people WHERE id = $1"
INDEXES = ["ALTER TABLE people ADD PRIMARY KEY (id)", "CREATE INDEX people_age ON people (age)"]
DROPPED = ["ALTER TABLE people DROP CONSTRAINT people_pkey", "DROP INDEX people_age"]


def at_once(*commands):
    """Run the commands at the same time, and return what each printed."""
    commands = [[str(part) for part in command] for command in commands]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd="/") for command in commands]
    try:
        printed = [process.communicate()[0] for process in running]
    finally:
        for process in running:
            process.kill()
    for process in running:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
    return printed


def psql(url, *statements):
    command = ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", url, "-c", "SET client_min_messages = warning"]
    return [*command, *(part for text in statements for part in ("-c", text))]


class Bench:
    def __init__(self, url, files, rows):
        self.url, self.files, self.rows, self.etl, self.expected = url, files, rows, program(), None
        self.standbys = []
        self.people = files / "people.csv"
        sh(self.etl, "generate", "-n", rows, "-o", self.people, "-q")

    def ask(self, *statements, url=None):
        return sh(*psql(url or self.url, *statements)).strip()

    def contents(self, url=None):
        """The number of rows, and the sum of their hashes."""
        row = "concat_ws(',', id, name, age, ismarried, city, state, country)"
        return self.ask(f"SELECT count(*), sum(hashtextextended({row}, 0)::numeric) FROM people", url=url)

    def wait_for_standbys(self):
        """Return when the standbys have replayed everything."""
        position = self.ask("SELECT pg_current_wal_lsn()")
        for standby in self.standbys:
            while self.ask(f"SELECT pg_last_wal_replay_lsn() >= '{position}'", url=standby) != "t":
                time.sleep(0.05)

    def create(self, partitioned_by):
        """The table, in four partitions if it is partitioned, filled by psql; its rows are those to expect."""
        kind, _, key = partitioned_by.partition(" ")
        self.ask("DROP TABLE IF EXISTS people", f"CREATE TABLE people ({COLUMNS})"
                 + (f" PARTITION BY {kind} ({key})" if key else ""))
        for leaf in range(LEAVES if key else 0):
            first, last = (1 + end * self.rows // LEAVES for end in (leaf, leaf + 1))
            bounds = f"WITH (MODULUS {LEAVES}, REMAINDER {leaf})" if kind == "HASH" else f"FROM ({first}) TO ({last})"
            self.ask(f"CREATE TABLE people_{leaf} PARTITION OF people FOR VALUES {bounds}")
        self.ask(*INDEXES, self.copy("people", self.people, ", HEADER"), "VACUUM ANALYZE people")
        self.expected = self.contents()

    def copy(self, table, file, *more):
        return f"\\copy {table} from '{file}' (FORMAT csv{''.join(more)})"

    def split(self):
        """Write the rows of each partition into a file."""
        for leaf in range(LEAVES):
            self.ask(f"\\copy people_{leaf} to '{self.files}/{leaf}.csv' (FORMAT csv)")

    def load(self, action, *before):
        """Return a contender that loads all people by `action` and returns rows per second."""
        def run():
            self.ask(*before, "CHECKPOINT")
            began = time.monotonic()
            action()
            seconds = time.monotonic() - began
            self.wait_for_standbys()
            for url in [self.url, *self.standbys]:
                if (found := self.contents(url)) != self.expected:
                    raise SystemExit(f"the table on {url} holds {found}, not {self.expected}")
            return self.rows / seconds
        return run

    def ours(self, *flags, url=None):
        command = [self.etl, "load", self.people, "-t", "people", "-q", "--no-env-file", "--no-analyze", *flags]
        return lambda: sh(*command, "--database-url", url or self.url)

    def by_leaf(self, *more, empties=False):
        """The commands of two psql sessions, each of which copies two partitions from files of their own."""
        def copies(leaf):
            truncate = [f"TRUNCATE people_{leaf}"] if empties else []
            return [*truncate, self.copy(f"people_{leaf}", f"{self.files}/{leaf}.csv", *more)]
        leaves = [range(session, LEAVES, SESSIONS) for session in range(SESSIONS)]
        return [psql(self.url, "BEGIN", *(part for leaf in own for part in copies(leaf)), "COMMIT") for own in leaves]

    def filling(self):
        """Contenders that fill the table of `create`."""
        whole, by_leaf = self.copy("people", self.people, ", HEADER"), self.by_leaf(", FREEZE", empties=True)
        return {
            "`load --truncate`": self.load(self.ours("--truncate")),
            "psql, TRUNCATE and `\\copy`": self.load(lambda: self.ask("BEGIN", "TRUNCATE people", whole, "COMMIT")),
            "psql, dropping the indexes before `\\copy` and rebuilding them after it": self.load(
                lambda: self.ask("BEGIN", "TRUNCATE people", *DROPPED, whole, *INDEXES, "COMMIT")),
            "psql, two sessions, each with two partitions: TRUNCATE, `\\copy … FREEZE`": self.load(
                lambda: at_once(*by_leaf)),
        }

    def appending(self, kind):
        """Return the contenders that append to the table of `create`, which is partitioned by `kind`."""
        lines = self.people.read_text().splitlines(keepends=True)[1:]
        for half, ends in enumerate([(0, len(lines) // 2), (len(lines) // 2, len(lines))]):
            (self.files / f"half{half}.csv").write_text("".join(lines[slice(*ends)]))
        whole, append = self.copy("people", self.people, ", HEADER"), ("--append", "--defer-indexes", "never")
        halves = [psql(self.url, self.copy("people", f"{self.files}/half{half}.csv")) for half in range(SESSIONS)]
        by_leaf = self.by_leaf()
        routed = {"`load --append --connections 2 --partitions auto`": self.ours(
            *append, "--connections", 2, "--partitions", "auto")}
        contenders = {
            "`load --append --connections 2`": self.ours(*append, "--connections", 2),
            **(routed if kind == "hash" else {}),
            "`load --append`": self.ours(*append),
            "psql, `\\copy`": lambda: self.ask(whole),
            "psql, two sessions, each with half of the file": lambda: at_once(*halves),
            "psql, two sessions, each with two partitions": lambda: at_once(*by_leaf),
        }
        return {title: self.load(action, "TRUNCATE people") for title, action in contenders.items()}

    def replicated(self, standbys):
        """Loads through a URL of all three hosts, and look-ups on the two standbys."""
        hosts = ",".join(url.split("@")[1].split("/")[0] for url in [*standbys, self.url])
        every = f"postgresql://postgres@{hosts}/postgres"
        copy = psql(every + "?target_session_attrs=read-write", "BEGIN", "TRUNCATE people",
                    self.copy("people", self.people, ", HEADER"), "COMMIT")

        def query(depth):
            flags = ["--arg", f"uniform:1:{self.rows}", "-c", CONNECTIONS, "-d", depth, "-T", SECONDS, "-n", 10**9]
            command = [self.etl, "query", "--read-from", "replicas", "--sql", BY_ID, *flags, "--json", "-q",
                       "--no-env-file", "--database-url", every]
            return lambda: json.loads(sh(*command))["queries_per_second"]

        def pgbench(depth):
            look_up = f"\\set id random(1, {self.rows})\n{BY_ID.replace('$1', ':id')};\n"
            script = self.files / f"pgbench-{depth}.sql"
            script.write_text(look_up if depth == 1 else f"\\startpipeline\n{look_up * depth}\\endpipeline\n")
            each = ["pgbench", "-n", "-M", "prepared", "-c", CONNECTIONS // 2, "-T", SECONDS, "-f", script]
            return lambda: sum(depth * float(printed.partition("\ntps = ")[2].split()[0])
                               for printed in at_once(*([*each, url] for url in standbys)))

        return [
            ("loading", {
                "`load --truncate`": self.load(self.ours("--truncate", url=every)),
                "psql, TRUNCATE and `\\copy`": self.load(lambda: at_once(copy)),
            }),
            ("look-ups, 8 connections, 1 in flight on each", {
                "`query --read-from replicas`": query(1), "pgbench, one for each standby": pgbench(1)}),
            (f"look-ups, 8 connections, {DEPTH} in flight on each", {
                "`query --read-from replicas`": query(DEPTH),
                f"pgbench, one for each standby, pipelines of {DEPTH}": pgbench(DEPTH)}),
        ]

    def threads(self):
        """Reading and encoding, without a server, ten times the file."""
        def encode(programs, threads):
            command = [self.etl, "load", *[self.people] * (10 // programs), "-m", "null", "-q", "--no-env-file",
                       "--threads", threads]
            def run():
                began = time.monotonic()
                at_once(*[command] * programs)
                return 10 * self.rows / (time.monotonic() - began)
            return run
        return {
            "`load --mode null --threads 2`": encode(1, 2),
            "`load --mode null --threads 1`": encode(1, 1),
            "two programs at once with `--threads 1`, each with half of the files: what the cores can do": encode(2, 1),
        }


def measure(contenders, rounds):
    """The figures of all rounds, by contender."""
    figures = {title: [] for title in contenders}
    for number in range(rounds + 1):
        for title in list(contenders)[::1 if number % 2 else -1]:
            figure = contenders[title]()
            if number > 0:
                figures[title].append(figure)
    return figures


def show(title, unit, figures):
    first = next(iter(figures.values()))
    print(f"\n| {title} | {unit} | times as fast |\n| --- | ---: | ---: |")
    for name, own in figures.items():
        ratio = "" if own is first else spread([mine / other for mine, other in zip(first, own)])
        print(f"| {name} | {statistics.median(own):,.0f} | {ratio} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", default=PARTS, type=lambda parts: parts.split(","))
    options = parser.parse_args()
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    with contextlib.ExitStack() as stack:
        files = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench(stack.enter_context(own_server()), files, options.rows)
        print(f"PostgreSQL {bench.ask('SHOW server_version')}, {options.rounds} rounds, {options.rows:,} rows")
        run = lambda title, unit, contenders: show(title, unit, measure(contenders, options.rounds))
        for kind in [kind for kind in ("hash", "range") if kind in options.only]:
            bench.create(f"{kind.upper()} id")
            bench.split()
            run(f"replacing the rows of four partitions, by {kind}", "rows/s", bench.filling())
        for kind in [kind for kind in ("hash", "range") if f"append-{kind}" in options.only]:
            bench.create(f"{kind.upper()} id")
            bench.split()
            run(f"appending to four partitions, by {kind}", "rows/s", bench.appending(kind))
        if "threads" in options.only:
            run("reading and encoding", "rows/s", bench.threads())
        if "replicas" in options.only:
            bench.create("")
            bench.standbys = [stack.enter_context(own_server(standby_of=bench.url)) for _ in range(2)]
            for title, contenders in bench.replicated(bench.standbys):
                run(title, "rows/s" if title == "loading" else "look-ups/s", contenders)


if __name__ == "__main__":
    main()
