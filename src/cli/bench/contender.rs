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
    /// One of the contender's [settings](Contender::settings), for [`QueryLoad::Fastest`].
    Setting { connections: usize, depth: usize },
}

impl QueryLoad {
    /// Connections, and queries in flight on each; `None` where that is for the contender to choose.
    pub(super) fn shape(&self) -> Option<(usize, usize)> {
        match *self {
            QueryLoad::Shape { connections, depth } | QueryLoad::Setting { connections, depth } => {
                Some((connections, depth))
            }
            QueryLoad::Fastest => None,
        }
    }

    /// These numbers of connections, each with this number in flight on each.
    pub(super) fn settings<const N: usize>(connections: [usize; N], depth: usize) -> Vec<QueryLoad> {
        connections.map(|connections| QueryLoad::Setting { connections, depth }).into()
    }
}

/// The number of cores that this program may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
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

    /// The settings of [`QueryLoad::Fastest`]: the one that is the fastest in the warm-up is measured.
    fn settings(&self) -> Vec<QueryLoad> {
        Vec::new()
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

    /// Whether `answers` leaves them in the server's table of answers, instead of printing them.
    fn answers_in_server(&self) -> bool {
        false
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
