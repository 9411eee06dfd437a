"""What the benchmarks in Python share: commands, a server of their own, and ratios."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile

# Exit in the ordinary way on these signals, so that servers are stopped.
for end in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(end, lambda number, _: sys.exit(128 + number))

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = """id integer NOT NULL, name text NOT NULL, age smallint NOT NULL, ismarried boolean NOT NULL,
    city text NOT NULL, state text NOT NULL, country text NOT NULL"""


def sh(*command, code=0, cwd="/"):
    """Run the command, which has to end with `code`; return what it printed, on standard error if `code` is not 0."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd)
    if done.returncode != code:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stderr if code else done.stdout


def program():
    """Return the path of the program that ETL names, or else build it."""
    if etl := os.environ.get("ETL"):
        return pathlib.Path(etl).resolve(strict=True)
    subprocess.run(["cargo", "build", "--release", "--quiet"], check=True, cwd=ROOT)
    target = json.loads(sh("cargo", "metadata", "--no-deps", "--format-version", 1, cwd=ROOT))["target_directory"]
    return pathlib.Path(target, "release/postgres-etl")


@contextlib.contextmanager
def own_server(standby_of=None):
    """Start an ordinary server, or a standby of the one at the URL `standby_of`; yield its URL, and stop it at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        # The server refuses to run as root.
        run_as = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        if run_as:
            shutil.chown(directory, "postgres")
        programs, data = sh(os.environ.get("PG_CONFIG", "pg_config"), "--bindir").strip(), f"{directory}/data"
        if standby_of:
            sh(*run_as, f"{programs}/pg_basebackup", "-R", "-c", "fast", "-C", "-S", f"standby_{port}", "-D", data,
               "-d", standby_of)
        else:
            sh(*run_as, f"{programs}/initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", data)
        settings = f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200"
        control = [*run_as, f"{programs}/pg_ctl", "-D", data, "-w", "-s"]
        try:
            # Not by `sh`, which would wait until the server closes its standard output.
            subprocess.run([*control, "start", "-l", f"{directory}/log", "-o", settings], check=True, cwd="/")
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            if pathlib.Path(data, "postmaster.pid").exists():
                subprocess.run([*control, "stop", "-m", "fast"], cwd="/")


def spread(ratios):
    """The median of the rounds' ratios, with the lowest and the highest."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
