"""What the benchmarks in Python share: commands, a server of their own, and ratios."""

import contextlib
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = """id integer NOT NULL, name text NOT NULL, age smallint NOT NULL, ismarried boolean NOT NULL,
    city text NOT NULL, state text NOT NULL, country text NOT NULL"""


def sh(*command, code=0, cwd="/"):
    """What the command printed: on standard output, or on standard error if it has to end with another code than 0."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd)
    if done.returncode != code:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stderr if code else done.stdout


def program():
    """The program that ETL names, or else a new build."""
    if not (etl := os.environ.get("ETL")):
        subprocess.run(["cargo", "build", "--release", "--quiet"], check=True, cwd=ROOT)
        etl = ROOT / "target/release/postgres-etl"
    return etl


@contextlib.contextmanager
def own_server(standby_of=None):
    """The URL of an ordinary server, or of a standby of the one with another URL; it is stopped in the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        # The server refuses to run as root.
        run_as = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        if run_as:
            shutil.chown(directory, "postgres")
        programs, data = sh(os.environ.get("PG_CONFIG", "pg_config"), "--bindir").strip(), f"{directory}/data"
        if standby_of:
            sh(*run_as, f"{programs}/pg_basebackup", "-R", "-c", "fast", "-D", data, "-d", standby_of)
        else:
            sh(*run_as, f"{programs}/initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", data)
        settings = f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200"
        control = [*run_as, f"{programs}/pg_ctl", "-D", data, "-w", "-s"]
        # Not by `sh`, which would wait until the server closes its standard output.
        subprocess.run([*control, "start", "-l", f"{directory}/log", "-o", settings], check=True, cwd="/")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            sh(*control, "stop", "-m", "fast")


def spread(ratios):
    """The median of the rounds' ratios, with the lowest and the highest."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
