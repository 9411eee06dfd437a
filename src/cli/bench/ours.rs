//! This program's own ways.

use std::collections::BTreeMap;
use std::process::Command;

use postgres_etl::{Error, ErrorKind, Result};
use serde_json::Value;

use crate::cli::bench::contender::{
    Contender, LoadJob, QueryFigures, QueryJob, QueryLoad, REBUILT, Terms, WAL_OR_TABLE, cores,
};
use crate::cli::bench::report::ContenderInfo;

/// A way to load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ours {
    name: &'static str,
    title: &'static str,
    terms: Terms,
    flags: &'static [&'static str],
    /// More rows would take too long.
    most_rows: u64,
}

/// The terms of a load that empties the table in its only transaction.
const fn one_transaction(method: &'static str, indexes: &'static str) -> Terms {
    Terms {
        method,
        connections: "1 connection",
        transactions: "one for all, which empties the table first",
        durability: WAL_OR_TABLE,
        indexes,
    }
}

const WAYS: [Ours; 5] = [
    Ours {
        name: "rows-autocommit",
        title: "rows, a commit per row",
        terms: Terms::load("INSERT of a row, pipelined", "20 connections", "one per row"),
        flags: &["--mode", "rows", "--autocommit", "--connections", "20", "--append"],
        most_rows: 100_000,
    },
    Ours {
        name: "rows",
        title: "rows, one transaction",
        terms: one_transaction("INSERT of a row, pipelined", REBUILT),
        flags: &["--mode", "rows", "--truncate"],
        most_rows: u64::MAX,
    },
    Ours {
        name: "batch",
        title: "batch",
        terms: one_transaction("INSERT of many rows by unnest(), pipelined", REBUILT),
        flags: &["--mode", "batch", "--truncate"],
        most_rows: u64::MAX,
    },
    Ours {
        name: "copy",
        title: "copy",
        terms: one_transaction("binary COPY", REBUILT),
        flags: &["--mode", "copy", "--truncate"],
        most_rows: u64::MAX,
    },
    Ours {
        name: "copy-indexed",
        title: "copy, index kept",
        terms: one_transaction("binary COPY", "primary key kept"),
        flags: &["--mode", "copy", "--truncate", "--defer-indexes", "never"],
        most_rows: u64::MAX,
    },
];

impl Ours {
    pub(super) fn all() -> impl Iterator<Item = Ours> {
        WAYS.into_iter()
    }
}

/// This program, which reads its configuration in an empty directory: the user's may say something else.
fn program(job_scratch: &std::path::Path) -> Result<Command> {
    let program = std::env::current_exe()
        .map_err(|error| Error::new(ErrorKind::Input, format!("failed to find this program: {error}")))?;
    let mut command = Command::new(program);
    command.current_dir(job_scratch).env_remove("POSTGRES_ETL_CONFIG").env_remove("POSTGRES_ETL_MODE");
    Ok(command)
}

fn info(name: &str, title: &str, terms: Terms) -> ContenderInfo {
    ContenderInfo { is_ours: true, ..terms.peer(name, title, None, None) }
}

impl Contender for Ours {
    fn info(&self) -> ContenderInfo {
        info(self.name, self.title, self.terms)
    }

    fn is_too_slow_for(&self, rows: u64) -> bool {
        rows > self.most_rows
    }

    fn load(&self, job: &LoadJob<'_>) -> Result<Option<Command>> {
        if self.is_too_slow_for(job.rows) {
            return Ok(None);
        }
        let mut command = program(job.scratch)?;
        command.arg("load").arg(job.file).args(["--table", job.table, "--database-url", job.url]);
        command.args(["--quiet", "--json", "--no-analyze"]).args(self.flags);
        Ok(Some(command))
    }

    fn phases(&self, stdout: &str) -> BTreeMap<String, f64> {
        let report: Value = serde_json::from_str(stdout).unwrap_or_default();
        let phases = report["phases"].as_object().into_iter().flatten();
        let seconds = phases.filter_map(|(name, seconds)| {
            Some((name.trim_end_matches("_seconds").to_owned(), seconds.as_f64()?))
        });
        seconds.collect()
    }
}

/// The percentiles of a report of `query`: their keys, and their names.
const LATENCIES: [(&str, &str); 6] =
    [("p50", "p50"), ("p90", "p90"), ("p95", "p95"), ("p99", "p99"), ("p999", "p99.9"), ("p9999", "p99.99")];

const OUR_QUERY: Terms = Terms {
    transactions: "one per Sync, which queries in flight share",
    ..Terms::query("prepared statements, pipelined", "as many as the section says, or 1 or 2 for each core")
};

/// `query`.
#[derive(Debug, Clone, Copy)]
pub(super) struct OurQuery;

impl OurQuery {
    fn command(job: &QueryJob<'_>) -> Result<Option<Command>> {
        let (low, high) = job.numbers;
        let mut command = program(job.scratch)?;
        command.args(["query", "--sql", job.sql, "--arg", &format!("uniform:{low}:{high}")]);
        command.args(["--database-url", job.url, "--quiet", "--json", "--seed", &job.seed.to_string()]);
        let (connections, depth) = match job.load {
            QueryLoad::Shape { connections, depth } => (connections, depth),
            QueryLoad::Setting { connections, depth } => {
                // While the server works through one half, the other half is answered and replaced.
                command.args(["--sync-every", &(depth / 2).to_string()]);
                (connections, depth)
            }
            QueryLoad::Fastest => return Ok(None),
        };
        command.args(["--connections", &connections.to_string(), "--pipeline-depth", &depth.to_string()]);
        Ok(Some(command))
    }
}

impl Contender for OurQuery {
    fn info(&self) -> ContenderInfo {
        info("query", "postgres-etl query", OUR_QUERY)
    }

    fn settings(&self) -> Vec<QueryLoad> {
        QueryLoad::settings([cores(), 2 * cores()], 128)
    }

    fn query(&self, job: &QueryJob<'_>) -> Result<Option<Command>> {
        let mut command = OurQuery::command(job)?;
        if let Some(command) = &mut command {
            command.args(["--duration", &format!("{}s", job.seconds)]);
        }
        Ok(command)
    }

    fn check(&self, job: &QueryJob<'_>) -> Result<Option<Command>> {
        let mut command = OurQuery::command(job)?;
        if let Some(command) = &mut command {
            command.args(["-n", "500", "--verify"]);
        }
        Ok(command)
    }

    fn figures(&self, stdout: &str) -> Result<QueryFigures> {
        let report: Value = serde_json::from_str(stdout)
            .map_err(|error| Error::new(ErrorKind::Input, format!("it printed no report: {error}")))?;
        let percentile =
            |(key, name): (&str, &str)| Some((name.to_owned(), report["response_us"][key].as_f64()?));
        Ok(QueryFigures {
            queries: report["queries"].as_f64().unwrap_or_default(),
            seconds: report["seconds"].as_f64().unwrap_or_default(),
            latency_us: LATENCIES.into_iter().filter_map(percentile).collect(),
        })
    }
}
