//! Programs of ours around other libraries, and other people's loaders.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use postgres_etl::{Error, ErrorKind, Result};

use crate::cli::bench::contender::{Contender, LoadJob, QueryJob, QueryLoad};
use crate::cli::bench::peers::PeerDirectory;
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
    pub(super) terms: &'static str,
    pub(super) queries: bool,
    /// More rows would take too long.
    pub(super) most_rows: u64,
}

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
        terms: "the tutorial's way: 20 connections, one transaction per row, index kept",
        queries: false,
        most_rows: 100_000,
    },
    PythonPeer {
        name: "asyncpg-executemany",
        title: "asyncpg executemany",
        script: "asyncpg_executemany.py",
        source: source!("asyncpg_executemany.py"),
        packages: &["asyncpg"],
        terms: "1 connection, one transaction, index kept",
        queries: false,
        most_rows: u64::MAX,
    },
    PythonPeer {
        name: "asyncpg-copy",
        title: "asyncpg copy_records_to_table",
        script: "asyncpg_copy.py",
        source: source!("asyncpg_copy.py"),
        packages: &["asyncpg"],
        terms: "1 connection, one transaction, index kept",
        queries: false,
        most_rows: u64::MAX,
    },
    PythonPeer {
        name: "psycopg-copy",
        title: "psycopg 3 COPY",
        script: "psycopg_copy.py",
        source: source!("psycopg_copy.py"),
        packages: &["psycopg"],
        terms: "1 connection, one transaction, index kept",
        queries: false,
        most_rows: u64::MAX,
    },
    PythonPeer {
        name: "psycopg-pipeline",
        title: "psycopg 3 pipeline",
        script: "psycopg_pipeline.py",
        source: source!("psycopg_pipeline.py"),
        packages: &["psycopg"],
        terms: "1 connection, one transaction, index kept",
        queries: false,
        most_rows: 100_000,
    },
    PythonPeer {
        name: "adbc",
        title: "ADBC ingest",
        script: "adbc_ingest.py",
        source: source!("adbc_ingest.py"),
        packages: &["adbc_driver_postgresql", "pyarrow"],
        terms: "1 connection, one transaction, index kept",
        queries: false,
        most_rows: u64::MAX,
    },
    PythonPeer {
        name: "duckdb",
        title: "DuckDB",
        script: "duckdb_insert.py",
        source: source!("duckdb_insert.py"),
        packages: &["duckdb"],
        terms: "1 connection, one transaction, index kept",
        queries: false,
        most_rows: u64::MAX,
    },
    PythonPeer {
        name: "asyncpg",
        title: "asyncpg",
        script: "asyncpg_query.py",
        source: source!("asyncpg_query.py"),
        packages: &["asyncpg"],
        terms: "the tutorial's way: prepared statements, one query in flight on each connection",
        queries: true,
        most_rows: 0,
    },
    PythonPeer {
        name: "psycopg",
        title: "psycopg 3",
        script: "psycopg_query.py",
        source: source!("psycopg_query.py"),
        packages: &["psycopg"],
        terms: "prepared statements, a thread for each connection",
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
        ContenderInfo {
            name: name.into(),
            title: title.into(),
            version: version.unwrap_or_default(),
            terms: terms.into(),
            is_ours: false,
            missing,
        }
    }

    fn load(&self, job: &LoadJob<'_>) -> Result<Option<Command>> {
        if self.peer.queries || job.rows > self.peer.most_rows {
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

/// A Rust program around sqlx.
#[derive(Debug)]
pub(super) struct SqlxPeer {
    name: &'static str,
    title: &'static str,
    program: &'static str,
    terms: &'static str,
}

pub(super) const SQLX: &[SqlxPeer] = &[
    SqlxPeer {
        name: "sqlx-rows",
        title: "sqlx, row by row",
        program: "sqlx-load",
        terms: "the tutorial's way: 20 connections, one transaction per row, index kept",
    },
    SqlxPeer {
        name: "sqlx",
        title: "sqlx",
        program: "sqlx-query",
        terms: "the tutorial's way: prepared statements, one query in flight on each connection",
    },
];

/// An [`SqlxPeer`] as it is installed.
#[derive(Debug)]
pub(super) struct SqlxProgram {
    peer: &'static SqlxPeer,
    path: PathBuf,
}

/// Row by row, with a commit each, more rows would take too long.
const MOST_COMMITS: u64 = 100_000;

impl SqlxProgram {
    pub(super) fn new(peer: &'static SqlxPeer, directory: &PeerDirectory) -> SqlxProgram {
        SqlxProgram { peer, path: directory.program(peer.program) }
    }
}

impl Contender for SqlxProgram {
    fn info(&self) -> ContenderInfo {
        let lock = include_str!("../../../benches/peers/lock.toml");
        let version =
            lock.split("name = \"sqlx\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
        ContenderInfo {
            name: self.peer.name.into(),
            title: self.peer.title.into(),
            version: version.unwrap_or_default().into(),
            terms: self.peer.terms.into(),
            is_ours: false,
            missing: (!self.path.exists()).then(|| "not installed: bench --install-peers".to_owned()),
        }
    }

    fn load(&self, job: &LoadJob<'_>) -> Result<Option<Command>> {
        if self.peer.program != "sqlx-load" || job.rows > MOST_COMMITS {
            return Ok(None);
        }
        let mut command = Command::new(&self.path);
        command.args([job.url, job.table]).arg(job.file);
        Ok(Some(command))
    }

    fn query(&self, job: &QueryJob<'_>) -> Result<Option<Command>> {
        Ok(one_by_one(job).filter(|_| self.peer.program == "sqlx-query").map(|connections| {
            let mut command = Command::new(&self.path);
            command.args(query_arguments(job, connections, job.seconds));
            command
        }))
    }

    fn answers(&self, job: &QueryJob<'_>) -> Result<Option<Command>> {
        let mut command = Command::new(&self.path);
        command.args(query_arguments(job, 1, 0));
        Ok(Some(command).filter(|_| self.peer.program == "sqlx-query"))
    }
}

/// pgloader, where it is installed.
#[derive(Debug, Clone, Copy)]
pub(super) struct PgLoader;

impl Contender for PgLoader {
    fn info(&self) -> ContenderInfo {
        let version = version_of(Command::new("pgloader").arg("--version"));
        ContenderInfo {
            name: "pgloader".into(),
            title: "pgloader".into(),
            missing: version.is_none().then(|| "pgloader is not installed".to_owned()),
            version: version.unwrap_or_default(),
            terms: "text COPY, a transaction per batch, index kept".into(),
            is_ours: false,
        }
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
        let version = version_of(Command::new("timescaledb-parallel-copy").arg("--version"));
        ContenderInfo {
            name: "parallel-copy".into(),
            title: "timescaledb-parallel-copy".into(),
            missing: version.is_none().then(|| "timescaledb-parallel-copy is not installed".to_owned()),
            version: version.unwrap_or_default(),
            terms: "text COPY over 2 connections, a transaction per batch, index kept".into(),
            is_ours: false,
        }
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

/// What `command` prints of its version; `None` if it does not run.
pub(super) fn version_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}
