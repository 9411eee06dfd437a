#!/usr/bin/env python3
"""Is the lane beneath the driver as fast as the server allows? Look-ups, latencies and rows, against other programs.

    benches/lane.py [--rounds N] [--look-ups N] [--only PART,…] [--other PROGRAM] [--save FILE] URL

PART is one of look-ups-2, look-ups-4, latency, rows, and rows-settings: mode rows with other settings. URL names a server on this machine that nobody else uses, with
its host as a parameter: postgresql:///postgres?host=/var/run/postgresql&user=postgres. The program is that of
target/release, or the one that POSTGRES_ETL names; --other is another build of it, which takes part as well. The tables
are in the schema lane_bench, which is dropped at the end. It needs psql, pgbench, and Linux.

In each part the contenders run in turn, in the opposite order every other round, after a round that does not count.
The table has the medians, and the ratio of the first contender to each other one: the median of the ratios of all
rounds, with the lowest and the highest. CPU is user and system time divided by the look-ups or rows: of the client by
getrusage, with its start and its recording of latencies, and of all processes of the server by /proc. "Cores" is how
many of them were busy: where that is all, the rate is as high as both sides' CPU allows. zero-postgres and sqlx are
peers of `bench --install-peers`; zero-postgres needs PostgreSQL 18, and makes look-ups for 2 s. --save keeps every run,
as JSON.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
PEERS = pathlib.Path(os.environ.get("POSTGRES_ETL_PEERS_DIR") or CACHE / "postgres-etl/peers") / "build/release"
CORES = len(os.sched_getaffinity(0))
PARTS = ["look-ups-2", "look-ups-4", "latency", "rows", "rows-settings"]
PEOPLE = 100_000
DEPTH = 256
SQL = "SELECT name FROM lane_bench.persons WHERE id = $1"
TABLE = """(id integer PRIMARY KEY, name text NOT NULL, age smallint NOT NULL, ismarried boolean NOT NULL,
    city text NOT NULL, state text NOT NULL, country text NOT NULL)"""


class Server:
    """The server, and the CPU time of its processes."""

    def __init__(self, url):
        self.url = url
        self.version = self.ask("SHOW server_version")
        # Its file with the process ID is for the server's own user, but the parent of a backend is known to all.
        session = subprocess.Popen(["psql", "-qAtX", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        session.stdin.write("SELECT pg_backend_pid();\n")
        session.stdin.flush()
        stat = pathlib.Path("/proc", session.stdout.readline().strip(), "stat").read_text()
        self.postmaster = int(stat.rpartition(")")[2].split()[1])
        session.communicate()

    def ask(self, *statements):
        """The answer to the last of the statements."""
        command = ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", self.url, "-c", "SET client_min_messages = warning"]
        for statement in statements:
            command += ["-c", statement]
        return subprocess.check_output(command, text=True).strip()

    def cpu(self):
        """The seconds of the postmaster, of its children, and of those that have ended."""
        ticks = 0
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if self.postmaster in (int(stat.parent.name), int(fields[1])):
                ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")


class Run:
    """One command, and what it used."""

    def __init__(self, server, command, work):
        before, began = server.cpu(), time.monotonic()
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, cwd=work)
            _, status, usage = os.wait4(process.pid, 0)
            self.seconds = time.monotonic() - began
            out.seek(0)
            err.seek(0)
            self.stdout = out.read()
            if status != 0:
                sys.exit(f"{command[0]} failed: {err.read()}")
        self.client = usage.ru_utime + usage.ru_stime
        # A backend that has just ended counts once the postmaster has waited for it.
        time.sleep(0.1)
        self.server = server.cpu() - before

    def result(self, count, rate, latency=None):
        """The figures of a run of `count` look-ups or rows."""
        client, server = self.client * 1e6 / count, self.server * 1e6 / count
        return {"rate": rate, "client_cpu_us": client, "server_cpu_us": server, "latency_us": latency,
                "cores": rate * (client + server) / 1e6}


def etl_query(program, connections, depth, sync_every):
    def run(bench):
        run = bench.run([program, "query", "--sql", SQL, "--arg", f"uniform:1:{PEOPLE}", "-n", bench.look_ups,
                         "-c", connections, "-d", depth, "--sync-every", sync_every,
                         "--json", "--quiet", "--no-env-file", "--database-url", bench.server.url])
        report = json.loads(run.stdout)
        if report["errors"] or report["load"]["through_driver"]:
            sys.exit(f"{program} failed, or did not use its lane")
        latency = report["response_us"]["mean"] if depth == 1 else None
        return run.result(report["queries"], report["queries_per_second"], latency)
    return run


def zero_postgres(connections):
    def run(bench):
        run = bench.run([PEERS / "zero-query", bench.server.url, SQL, 1, PEOPLE, connections, 2, 1, DEPTH])
        report = json.loads(run.stdout)
        return run.result(report["queries"], report["queries"] / report["seconds"])
    return run


def pgbench(connections, depth):
    def run(bench):
        one = f"\\set id random(1, {PEOPLE})\n{SQL.replace('$1', ':id')};\n"
        script = bench.scratch / "pgbench.sql"
        script.write_text(one if depth == 1 else "\\startpipeline\n" + one * depth + "\\endpipeline\n")
        transactions = max(1, bench.look_ups // depth // connections)
        run = bench.run(["pgbench", "-n", "-M", "prepared", "-c", connections, "-j", min(connections, CORES),
                         "-t", transactions, "-f", script, bench.server.url])
        lines = dict(line.split(" = ") for line in run.stdout.splitlines() if line.count(" = ") == 1)
        number = lambda name: float(lines[name].split()[0])
        latency = number("latency average") * 1e3 if depth == 1 else None
        return run.result(transactions * depth * connections, number("tps") * depth, latency)
    return run


def load(command, name):
    """A load of all people into a table of this name; `command` makes its command."""
    def run(bench):
        table = f"lane_bench.{name}"
        bench.server.ask(f"DROP TABLE IF EXISTS {table}", f"CREATE TABLE {table} {TABLE}", "CHECKPOINT")
        run = bench.run(command(bench, table))
        others = f"SELECT count(*) FROM (TABLE {table} EXCEPT TABLE lane_bench.persons) AS other"
        if bench.server.ask(f"SELECT count(*) = {PEOPLE} AND ({others}) = 0 FROM {table}") != "t":
            sys.exit(f"{name} left other rows in its table")
        return run.result(PEOPLE, PEOPLE / run.seconds)
    return run


def etl_rows(program, *flags, setting=None):
    """`load` in mode rows, with other flags, or a setting of the session."""
    def command(bench, table):
        url = bench.server.url + (f"&options=-c%20{setting}" if setting else "")
        return [program, "load", bench.people, "-t", table, "--mode", "rows", "--truncate", "--no-analyze", "--quiet",
                "--no-env-file", "--database-url", url, *flags]
    return command


def groups(count, size):
    """The flags for that many groups in flight, with so many INSERTs to a Sync."""
    return ["--pipeline-depth", count * size, "--sync-every", size]


def sqlx_rows(bench, table):
    return [PEERS / "sqlx-load", bench.server.url, table, bench.people]


def loop_rows(bench, table):
    """INSERTs in a loop inside the server, without a client and without reading a file."""
    text = f"""DO $$ DECLARE person lane_bench.persons; BEGIN
        FOR person IN TABLE lane_bench.persons LOOP INSERT INTO {table} VALUES (person.*); END LOOP; END $$"""
    return ["psql", "-qX", "-v", "ON_ERROR_STOP=1", bench.server.url, "-c", text]


class Bench:
    """What is compared, and where."""

    def __init__(self, options, scratch):
        self.server, self.look_ups, self.rounds = Server(options.url), options.look_ups, options.rounds
        self.scratch = pathlib.Path(scratch)
        self.people = self.scratch / "people.csv"
        self.program = os.environ.get("POSTGRES_ETL") or str(ROOT / "target/release/postgres-etl")
        self.programs = {"ours": self.program, **({"other": options.other} if options.other else {})}

    def run(self, command):
        return Run(self.server, [str(part) for part in command], self.scratch)

    def prepare(self):
        self.run([self.program, "generate", "-n", PEOPLE, "-o", self.people, "--quiet"])
        self.server.ask("CREATE SCHEMA lane_bench", f"CREATE TABLE lane_bench.persons {TABLE}",
                        f"\\copy lane_bench.persons from '{self.people}' csv header")
        self.server.ask("VACUUM ANALYZE lane_bench.persons")

    def contenders(self, part):
        """The contenders of a part; the first one is compared with the others."""
        if part == "rows":
            contenders = {name: load(etl_rows(program), name) for name, program in self.programs.items()}
            if (PEERS / "sqlx-load").exists():
                contenders["sqlx, row by row"] = load(sqlx_rows, "sqlx_rows")
            return {**contenders, "loop in the server": load(loop_rows, "loop_rows")}
        if part == "rows-settings":
            settings = {
                "ours": etl_rows(self.program),
                "2 groups of 128": etl_rows(self.program, *groups(2, 128)),
                "16 groups of 256": etl_rows(self.program, *groups(16, 256)),
                "4 groups of 4,096": etl_rows(self.program, *groups(4, 4096)),
                "index kept": etl_rows(self.program, "--defer-indexes", "never"),
                "generic plan": etl_rows(self.program, setting="plan_cache_mode%3Dforce_generic_plan"),
                "no activity tracked": etl_rows(self.program, setting="track_activities%3Doff"),
                "loop in the server": loop_rows,
            }
            return {name: load(command, f"rows_{number}") for number, (name, command) in enumerate(settings.items())}
        if part == "latency":
            contenders = {name: etl_query(program, 8, 1, 1) for name, program in self.programs.items()}
            return {**contenders, "pgbench": pgbench(8, 1)}
        connections = int(part.rpartition("-")[2])
        contenders = {name: etl_query(program, connections, 2 * DEPTH, DEPTH)
                      for name, program in self.programs.items()}
        contenders["ours, 4 groups in flight"] = etl_query(self.program, connections, 4 * DEPTH, DEPTH)
        if (PEERS / "zero-query").exists() and int(self.server.version.split(".")[0]) >= 18:
            contenders["zero-postgres, pipelines"] = zero_postgres(connections)
        return {**contenders, "pgbench, pipelines": pgbench(connections, DEPTH)}

    def measure(self, contenders):
        """The runs of each contender."""
        runs = {name: [] for name in contenders}
        for number in range(self.rounds + 1):
            for name in list(contenders)[::1 if number % 2 else -1]:
                result = contenders[name](self)
                if number > 0:
                    runs[name].append(result)
        return runs


def show(part, runs):
    first = next(iter(runs.values()))
    print(f"\n{part}\n  {'':26} {'per second':>10} {'ratio':>7} {'lowest–highest':>15}"
          f" {'client µs':>10} {'server µs':>10} {'cores':>6} {'mean latency µs':>16}")
    for name, own in runs.items():
        median = lambda key: statistics.median(run[key] for run in own)
        ratios = sorted(mine["rate"] / other["rate"] for mine, other in zip(first, own))
        span = f"{ratios[0]:.3f}–{ratios[-1]:.3f}"
        latency = "" if own[0]["latency_us"] is None else f"{median('latency_us'):16.1f}"
        print(f"  {name:26} {median('rate'):10,.0f} {statistics.median(ratios):7.3f} {span:>15}"
              f" {median('client_cpu_us'):10.3f} {median('server_cpu_us'):10.3f} {median('cores'):6.2f} {latency}",
              flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--look-ups", type=int, default=600_000)
    parser.add_argument("--only", default=PARTS, type=lambda parts: parts.split(","))
    parser.add_argument("--other")
    parser.add_argument("--save")
    options = parser.parse_args()
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(options, scratch)
        kept = {"server": bench.server.version, "cores": CORES, "look_ups": options.look_ups, "parts": {}}
        print(f"PostgreSQL {kept['server']}, {CORES} cores, {options.rounds} rounds")
        bench.server.ask("DROP SCHEMA IF EXISTS lane_bench CASCADE")
        try:
            bench.prepare()
            for part in options.only:
                runs = kept["parts"][part] = bench.measure(bench.contenders(part))
                show(part, runs)
                if options.save:
                    pathlib.Path(options.save).write_text(json.dumps(kept, indent=1) + "\n")
        finally:
            bench.server.ask("DROP SCHEMA IF EXISTS lane_bench CASCADE")


if __name__ == "__main__":
    main()
