//! Who takes part: one trait, and the list of all.

use std::path::Path;
use std::process::Command;

use postgres_etl::{Error, ErrorKind, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::cli::bench::report::ContenderInfo;

/// A file to load into an empty table.
#[derive(Debug)]
pub(super) struct LoadJob<'a> {
    /// The server, as a URL.
    pub(super) url: &'a str,
    /// The table, with its schema.
    pub(super) table: &'a str,
    pub(super) file: &'a Path,
    pub(super) rows: u64,
    /// A directory for scripts.
    pub(super) scratch: &'a Path,
}

/// A statement to be executed again and again, with a number as its argument `$1`.
#[derive(Debug, Clone)]
pub(super) struct QueryJob<'a> {
    /// The server, as a URL.
    pub(super) url: &'a str,
    pub(super) sql: &'a str,
    /// The numbers, of which each is equally likely.
    pub(super) numbers: (u64, u64),
    pub(super) load: QueryLoad,
    /// How long to run.
    pub(super) seconds: u64,
    pub(super) seed: u64,
    /// A directory for scripts.
    pub(super) scratch: &'a Path,
}

/// How many queries are to be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryLoad {
    /// This number of connections, with this number in flight on each.
    Shape { connections: usize, depth: usize },
    /// Whatever is fastest for the contender.
    Fastest,
}

/// What a program reports of its queries.
#[derive(Debug, Deserialize)]
pub(super) struct QueryFigures {
    pub(super) queries: f64,
    pub(super) seconds: f64,
    /// Percentiles in microseconds, by name.
    #[serde(default)]
    pub(super) latency_us: BTreeMap<String, f64>,
}

/// A way to load or to query.
pub(super) trait Contender {
    /// Who it is, and whether it can take part.
    fn info(&self) -> ContenderInfo;

    /// The command that does `job`; `None` if it does not load, or not that much.
    fn load(&self, _job: &LoadJob<'_>) -> Result<Option<Command>> {
        Ok(None)
    }

    /// The time of each phase of a load, in seconds, from what it printed.
    fn phases(&self, _stdout: &str) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }

    /// The command that does `job`; `None` if it does not query, or not with that load.
    fn query(&self, _job: &QueryJob<'_>) -> Result<Option<Command>> {
        Ok(None)
    }

    /// The command that prints the answers to the first numbers of `job`, one a line; `None` if it cannot.
    fn answers(&self, _job: &QueryJob<'_>) -> Result<Option<Command>> {
        Ok(None)
    }

    /// A command that fails unless the answers to `job` are right, for a contender that can check them itself.
    fn check(&self, _job: &QueryJob<'_>) -> Result<Option<Command>> {
        Ok(None)
    }

    /// Whether `query` counts its answers in the server, instead of printing them.
    fn counts_in_server(&self) -> bool {
        false
    }

    /// What `query` printed.
    fn figures(&self, stdout: &str) -> Result<QueryFigures> {
        figures_of_json(stdout)
    }
}

/// The number of answers that are compared with the server's own.
pub(super) const ANSWERS: u64 = 50;

/// The figures in the last line of `stdout`, a JSON object.
pub(super) fn figures_of_json(stdout: &str) -> Result<QueryFigures> {
    let line = stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line)
        .map_err(|error| Error::new(ErrorKind::Input, format!("it printed no figures ({error}): {line}")))
}
