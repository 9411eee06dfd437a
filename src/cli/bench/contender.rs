//! Who takes part: one trait, and the list of all.

use std::path::Path;
use std::process::Command;

use postgres_etl::{Error, ErrorKind, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::cli::bench::report::{ContenderInfo, Fairness};

/// A file to load into an empty table.
#[derive(Debug)]
pub(super) struct LoadJob<'a> {
    /// The server, as a URL.
    pub(super) url: &'a str,
    /// The table, with its schema.
    pub(super) table: &'a str,
    pub(super) file: &'a Path,
    /// The same rows as a binary COPY, in a file that the server can read by itself; `None` if there is none.
    pub(super) server_file: Option<&'a Path>,
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

/// How a contender works, and on what terms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) method: &'static str,
    pub(super) connections: &'static str,
    pub(super) transactions: &'static str,
    pub(super) durability: &'static str,
    pub(super) indexes: &'static str,
}

/// The durability of a load into a table that it does not empty.
pub(super) const WAL: &str =
    "logged table; a commit waits for the WAL as the server's fsync and synchronous_commit say";

/// The durability of a load that empties the table in its transaction.
pub(super) const WAL_OR_TABLE: &str = "logged table; a commit waits for the WAL as the server's fsync and \
     synchronous_commit say, or with wal_level=minimal for the table itself, without WAL";

/// The fate of the index in a load that drops it, and rebuilds it after the last row.
pub(super) const REBUILT: &str = "primary key dropped and rebuilt";

impl Terms {
    /// Those of a load by `method` that leaves the session's settings and the index alone.
    pub(super) const fn load(
        method: &'static str,
        connections: &'static str,
        transactions: &'static str,
    ) -> Terms {
        Terms { method, connections, transactions, durability: WAL, indexes: "primary key kept" }
    }

    /// Those of queries by `method`.
    pub(super) const fn query(method: &'static str, connections: &'static str) -> Terms {
        Terms {
            method,
            connections,
            transactions: "one per query",
            durability: "nothing is written",
            indexes: "primary key for by-id, none for older-than",
        }
    }

    /// The contender `name`, not one of this program's ways, in the `version` that was found, or `missing` for a reason.
    pub(super) fn peer(
        self,
        name: &str,
        title: &str,
        version: Option<String>,
        missing: Option<String>,
    ) -> ContenderInfo {
        ContenderInfo {
            name: name.into(),
            title: title.into(),
            version: version.unwrap_or_default(),
            terms: self.method.into(),
            fairness: Some(self.fairness()),
            is_ours: false,
            is_limit: false,
            missing,
        }
    }

    pub(super) fn fairness(self) -> Fairness {
        Fairness {
            connections: self.connections.into(),
            transactions: self.transactions.into(),
            durability: self.durability.into(),
            indexes: self.indexes.into(),
        }
    }
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

/// The percentiles that contenders may report: their names, and the share of the queries that exceed them.
const PERCENTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.1), ("p95", 0.05), ("p99", 0.01), ("p99.9", 0.001), ("p99.99", 0.0001)];

/// At least this number of queries must exceed a percentile for it to be more than one query's luck.
const FEWEST_BEYOND: f64 = 5.0;

impl QueryFigures {
    /// The percentiles that enough queries exceed.
    pub(super) fn known_latency_us(self) -> BTreeMap<String, f64> {
        let is_known = |name: &str| {
            PERCENTILES.iter().any(|(known, beyond)| *known == name && self.queries * beyond >= FEWEST_BEYOND)
        };
        self.latency_us.into_iter().filter(|(name, _)| is_known(name)).collect()
    }
}

/// A way to load or to query.
pub(super) trait Contender {
    /// Who it is, and whether it can take part.
    fn info(&self) -> ContenderInfo;

    /// The oldest major version of the server with which it works; `None` for any.
    fn least_server(&self) -> Option<u32> {
        None
    }

    /// The least number of rows that it loads, from [`LoadJob::server_file`]; `None` if it needs no such file.
    fn least_server_rows(&self) -> Option<u64> {
        None
    }

    /// The command that does `job`; `None` if it does not load, or not that much.
    fn load(&self, _job: &LoadJob<'_>) -> Result<Option<Command>> {
        Ok(None)
    }

    /// Whether it loads, but would take too long for this number of rows.
    fn is_too_slow_for(&self, _rows: u64) -> bool {
        false
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
