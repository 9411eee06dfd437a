//! Programs of ours around other libraries, and other people's loaders.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use postgres_etl::{Error, ErrorKind, Result};

use crate::cli::bench::contender::{ANSWERS, Contender, LoadJob, QueryJob, QueryLoad, Terms, cores};
use crate::cli::bench::peers::PeerDirectory;
use crate::cli::bench::postgres_tools::{info, version_of};
use crate::cli::bench::report::ContenderInfo;

/// The module that the scripts share.
pub(super) const MODULE: &str = include_str!("../../../benches/peers/scripts/people.py");

/// A script for a Python library.
#[derive(Debug)]
pub(super) struct PythonPeer {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) script: &'static str,
    pub(super) source: &'static str,
    /// What it imports beyond Python's own; the first has the version.
    pub(super) packages: &'static [&'static str],
    pub(super) terms: Terms,
    pub(super) queries: bool,
    /// More rows would take too long.
    pub(super) most_rows: u64,
}

/// The connections of those that query.
const CONNECTIONS: &str = "as many as the section says";

macro_rules! source {
    ($file:literal) => {
        include_str!(concat!("../../../benches/peers/scripts/", $file))
    };
}

pub(super) const PYTHON: &[PythonPeer] = &[
    PythonPeer {
        name: "asyncpg-rows",
        title: "asyncpg, row by row",
        script: "asyncpg_rows.py",
        source: source!("asyncpg_rows.py"),
        packages: &["asyncpg"],
        terms: Terms::load("the tutorial's way: INSERT of a row", "20 connections", "one per row"),
        queries: false,
        most_rows: 100_000,
    },
    PythonPeer {
        name: "asyncpg-executemany",
        title: "asyncpg executemany",
        script: "asyncpg_executemany.py",
        source: source!("asyncpg_executemany.py"),
        packages: &["asyncpg"],
        terms: Terms::load("executemany() of INSERT", "1 connection", "one for all rows"),
        queries: false,
        most_rows: u64::MAX,
    },
    PythonPeer {
        name: "asyncpg-copy",
        title: "asyncpg copy_records_to_table",
        script: "asyncpg_copy.py",
        source: source!("asyncpg_copy.py"),
        packages: &["asyncpg"],
        terms: Terms::load("binary COPY", "1 connection", "one for all rows"),
        queries: false,
        most_rows: u64::MAX,
    },
    PythonPeer {
        name: "psycopg-copy",
        title: "psycopg 3 COPY",
        script: "psycopg_copy.py",
        source: source!("psycopg_copy.py"),
        packages: &["psycopg"],
        terms: Terms::load("text COPY, row by row", "1 connection", "one for all rows"),
        queries: false,
        most_rows: u64::MAX,
    },
    PythonPeer {
        name: "psycopg-pipeline",
        title: "psycopg 3 pipeline",
        script: "psycopg_pipeline.py",
        source: source!("psycopg_pipeline.py"),
        packages: &["psycopg"],
        terms: Terms::load("executemany() of INSERT, pipelined", "1 connection", "one for all rows"),
        queries: false,
        most_rows: 100_000,
    },
    PythonPeer {
        name: "adbc",
        title: "ADBC ingest",
        script: "adbc_ingest.py",
        source: source!("adbc_ingest.py"),
        packages: &["adbc_driver_postgresql", "pyarrow"],
        terms: Terms::load("binary COPY of Arrow columns", "1 connection", "one for all rows"),
        queries: false,
        most_rows: u64::MAX,
    },
    PythonPeer {
        name: "duckdb",
        title: "DuckDB",
        script: "duckdb_insert.py",
        source: source!("duckdb_insert.py"),
        packages: &["duckdb"],
        terms: Terms::load("binary COPY", "1 connection", "one for all rows"),
        queries: false,
        most_rows: u64::MAX,
    },
    PythonPeer {
        name: "asyncpg",
        title: "asyncpg",
        script: "asyncpg_query.py",
        source: source!("asyncpg_query.py"),
        packages: &["asyncpg"],
        terms: Terms::query("the tutorial's way: prepared statements, one at a time", CONNECTIONS),
        queries: true,
        most_rows: 0,
    },
    PythonPeer {
        name: "psycopg",
        title: "psycopg 3",
        script: "psycopg_query.py",
        source: source!("psycopg_query.py"),
        packages: &["psycopg"],
        terms: Terms::query("prepared statements, one at a time; a thread for each connection", CONNECTIONS),
        queries: true,
        most_rows: 0,
    },
];

/// A [`PythonPeer`] as it is installed.
#[derive(Debug)]
pub(super) struct PythonScript {
    peer: &'static PythonPeer,
    directory: PeerDirectory,
}

impl PythonScript {
    pub(super) fn new(peer: &'static PythonPeer, directory: &PeerDirectory) -> PythonScript {
        PythonScript { peer, directory: directory.clone() }
    }

    fn command(&self) -> Result<Command> {
        // The script of this program, not that of the one that installed the peers.
        for (name, source) in [(self.peer.script, self.peer.source), ("people.py", MODULE)] {
            let path = self.directory.script(name);
            fs::write(&path, source).map_err(|error| Error::io(ErrorKind::Output, "write", &path, error))?;
        }
        let mut command = Command::new(self.directory.python());
        command.arg(self.directory.script(self.peer.script)).env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    }
}

impl Contender for PythonScript {
    fn info(&self) -> ContenderInfo {
        let PythonPeer { name, title, packages, terms, .. } = *self.peer;
        let python = self.directory.python();
        let mut code = format!("import {}, platform", packages.join(", "));
        if name == "duckdb" {
            code += "; duckdb.connect().execute('LOAD postgres')";
        }
        code += &format!("; print({}.__version__ + ', Python ' + platform.python_version())", packages[0]);
        let version =
            python.exists().then(|| version_of(Command::new(&python).args(["-c", &code]))).flatten();
        let missing = match (&version, python.exists()) {
            (Some(_), _) => None,
            (None, false) => Some("not installed: bench --install-peers".to_owned()),
            (None, true) if name == "duckdb" => {
                Some("DuckDB's extension for PostgreSQL could not be loaded".to_owned())
            }
            (None, true) => Some(format!("{} cannot be imported", packages.join(" or "))),
        };
        terms.peer(name, title, version, missing)
    }

    fn is_too_slow_for(&self, rows: u64) -> bool {
        !self.peer.queries && rows > self.peer.most_rows
    }

    fn load(&self, job: &LoadJob<'_>) -> Result<Option<Command>> {
        if self.peer.queries || self.is_too_slow_for(job.rows) {
            return Ok(None);
        }
        let mut command = self.command()?;
        command.args([job.url, job.table]).arg(job.file);
        Ok(Some(command))
    }

    fn query(&self, job: &QueryJob<'_>) -> Result<Option<Command>> {
        match (self.peer.queries, one_by_one(job)) {
            (true, Some(connections)) => {
                let mut command = self.command()?;
                command.args(query_arguments(job, connections, job.seconds));
                Ok(Some(command))
            }
            _ => Ok(None),
        }
    }

    fn answers(&self, job: &QueryJob<'_>) -> Result<Option<Command>> {
        let mut command = self.command()?;
        command.args(query_arguments(job, 1, 0));
        Ok(Some(command).filter(|_| self.peer.queries))
    }
}

/// The connections of `job`, if there is one query in flight on each.
fn one_by_one(job: &QueryJob<'_>) -> Option<usize> {
    match job.load {
        QueryLoad::Shape { connections, depth: 1 } => Some(connections),
        _ => None,
    }
}

/// The arguments of a program that queries; `0` seconds are for answers.
fn query_arguments(job: &QueryJob<'_>, connections: usize, seconds: u64) -> [String; 7] {
    let (low, high) = job.numbers;
    let numbers = [low, high, connections as u64, seconds, job.seed].map(|number| number.to_string());
    let [low, high, connections, seconds, seed] = numbers;
    [job.url.to_owned(), job.sql.to_owned(), low, high, connections, seconds, seed]
}

/// A Rust program around a library.
#[derive(Debug)]
pub(super) struct RustPeer {
    name: &'static str,
    title: &'static str,
    program: &'static str,
    /// The library, as the lock file names it.
    library: &'static str,
    work: RustWork,
    /// The oldest major version of the server with which the library works; `None` for any.
    least_server: Option<u32>,
    terms: Terms,
}

/// The version whose protocol 3.2 zero-postgres asks for; it refuses to go on with an older one.
const PROTOCOL_3_2: Option<u32> = Some(18);

/// What a [`RustPeer`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RustWork {
    Load,
    /// Queries, one at a time on each connection.
    Query,
    /// Queries, several in flight on each connection.
    Pipeline,
}

pub(super) const RUST: &[RustPeer] = &[
    RustPeer {
        name: "sqlx-rows",
        title: "sqlx, row by row",
        program: "sqlx-load",
        library: "sqlx",
        work: RustWork::Load,
        least_server: None,
        terms: Terms::load("the tutorial's way: INSERT of a row", "20 connections", "one per row"),
    },
    RustPeer {
        name: "sqlx",
        title: "sqlx",
        program: "sqlx-query",
        library: "sqlx",
        work: RustWork::Query,
        least_server: None,
        terms: Terms::query("the tutorial's way: prepared statements, one at a time", CONNECTIONS),
    },
    RustPeer {
        name: "zero-postgres",
        title: "zero-postgres",
        program: "zero-query",
        library: "zero-postgres",
        work: RustWork::Query,
        least_server: PROTOCOL_3_2,
        terms: Terms::query("prepared statements, one at a time; a thread for each connection", CONNECTIONS),
    },
    RustPeer {
        name: "zero-postgres-pipeline",
        title: "zero-postgres, pipelines",
        program: "zero-query",
        library: "zero-postgres",
        work: RustWork::Pipeline,
        least_server: PROTOCOL_3_2,
        terms: Terms {
            transactions: "one per pipeline",
            ..Terms::query("prepared statements in pipelines with one Sync", ZERO_CONNECTIONS)
        },
    },
];

const ZERO_CONNECTIONS: &str =
    "as many as the section says, or 1 or 2 for each core; a thread for each connection";

/// A [`RustPeer`] as it is installed.
#[derive(Debug)]
pub(super) struct RustProgram {
    peer: &'static RustPeer,
    path: PathBuf,
}

/// Row by row, with a commit each, more rows would take too long.
const MOST_COMMITS: u64 = 100_000;

impl RustProgram {
    pub(super) fn new(peer: &'static RustPeer, directory: &PeerDirectory) -> RustProgram {
        RustProgram { peer, path: directory.program(peer.program) }
    }

    /// The command that queries over this number of connections, with `depth` queries in flight on each.
    fn command(&self, job: &QueryJob<'_>, connections: usize, depth: usize, seconds: u64) -> Command {
        let mut command = Command::new(&self.path);
        command.args(query_arguments(job, connections, seconds));
        command.args((self.peer.work == RustWork::Pipeline).then(|| depth.to_string()));
        command
    }
}

impl Contender for RustProgram {
    fn info(&self) -> ContenderInfo {
        let RustPeer { name, title, library, terms, .. } = *self.peer;
        let lock = include_str!("../../../benches/peers/lock.toml");
        let version = lock.split(&format!("name = \"{library}\"\nversion = \"")).nth(1);
        let version =
            version.and_then(|rest| rest.split('"').next()).map(|number| format!("{library} {number}"));
        let missing = (!self.path.exists()).then(|| "not installed: bench --install-peers".to_owned());
        terms.peer(name, title, version, missing)
    }

    fn least_server(&self) -> Option<u32> {
        self.peer.least_server
    }

    fn is_too_slow_for(&self, rows: u64) -> bool {
        self.peer.work == RustWork::Load && rows > MOST_COMMITS
    }

    fn load(&self, job: &LoadJob<'_>) -> Result<Option<Command>> {
        if self.peer.work != RustWork::Load || self.is_too_slow_for(job.rows) {
            return Ok(None);
        }
        let mut command = Command::new(&self.path);
        command.args([job.url, job.table]).arg(job.file);
        Ok(Some(command))
    }

    fn settings(&self) -> Vec<QueryLoad> {
        match self.peer.work {
            RustWork::Pipeline => QueryLoad::settings([cores(), 2 * cores()], 128),
            RustWork::Load | RustWork::Query => Vec::new(),
        }
    }

    fn query(&self, job: &QueryJob<'_>) -> Result<Option<Command>> {
        let (connections, depth) = match (self.peer.work, job.load) {
            (RustWork::Query, QueryLoad::Shape { connections, depth: 1 }) => (connections, 1),
            (RustWork::Pipeline, QueryLoad::Shape { connections, depth }) if depth > 1 => {
                (connections, depth)
            }
            (RustWork::Pipeline, QueryLoad::Setting { connections, depth }) => (connections, depth),
            _ => return Ok(None),
        };
        Ok(Some(self.command(job, connections, depth, job.seconds)))
    }

    fn answers(&self, job: &QueryJob<'_>) -> Result<Option<Command>> {
        let depth = if self.peer.work == RustWork::Pipeline { ANSWERS as usize } else { 1 };
        Ok((self.peer.work != RustWork::Load).then(|| self.command(job, 1, depth, 0)))
    }
}

/// pgloader, where it is installed.
#[derive(Debug, Clone, Copy)]
pub(super) struct PgLoader;

impl Contender for PgLoader {
    fn info(&self) -> ContenderInfo {
        let terms = Terms::load("text COPY", "1 connection that writes", "one per batch of 25,000 rows");
        info("pgloader", "pgloader", "pgloader", terms)
    }

    fn load(&self, job: &LoadJob<'_>) -> Result<Option<Command>> {
        let mut command = Command::new("pgloader");
        command.args(["--type", "csv", "--with", "skip header = 1", "--with", "fields terminated by ','"]);
        command.args([
            "--with",
            "fields optionally enclosed by '\"'",
            "--with",
            "fields escaped by double-quote",
        ]);
        command.arg(job.file).arg(format!(
            "{}?tablename={}",
            job.url.replacen("postgresql:", "pgsql:", 1),
            job.table
        ));
        Ok(Some(command))
    }
}

/// timescaledb-parallel-copy, where it is installed.
#[derive(Debug, Clone, Copy)]
pub(super) struct ParallelCopy;

impl Contender for ParallelCopy {
    fn info(&self) -> ContenderInfo {
        let terms = Terms::load("text COPY", "2 connections", "one per batch of 5,000 rows");
        info("parallel-copy", "timescaledb-parallel-copy", "timescaledb-parallel-copy", terms)
    }

    fn load(&self, job: &LoadJob<'_>) -> Result<Option<Command>> {
        let (schema, table) = job.table.split_once('.').unwrap_or(("public", job.table));
        let mut command = Command::new("timescaledb-parallel-copy");
        command.args([
            "--connection",
            job.url,
            "--schema",
            schema,
            "--table",
            table,
            "--skip-header",
            "--workers",
            "2",
        ]);
        command.arg("--file").arg(job.file);
        Ok(Some(command))
    }
}
