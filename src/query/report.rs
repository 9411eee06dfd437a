//! What a run came to, for people and for machines.

use crate::query::explain::SlowPlan;
use crate::query::measure::batch_means::Interval;
use crate::query::measure::latency::LatencySummary;
use crate::query::measure::tally::ErrorCount;
use crate::query::measure::timeline::Second;
use crate::query::verdict::Verdict;
use std::collections::BTreeMap;
use std::num::NonZero;

use serde::Serialize;

use crate::Error;
use crate::postgres::server::ServerFacts;
use crate::query::drive::schedule::{Arrivals, Limits};
use crate::query::drive::sender::Protocol;
use crate::query::workload::spec::ArgSpec;

/// What a run of queries came to.
#[derive(Debug, Serialize)]
pub struct RunReport {
    /// `query`.
    pub command: &'static str,
    /// Whether Ctrl-C or a signal ended it early.
    pub interrupted: bool,
    /// Why it ended early: a connection was lost and could not be replaced, or a statement writes and may not.
    #[serde(serialize_with = "crate::error::as_text")]
    pub ended_by: Option<Error>,
    /// What was asked, and what each came to.
    pub workloads: Vec<WorkloadReport>,
    /// Queries that were answered, or refused.
    pub queries: u64,
    /// Those of them that were refused, or lost with their connection.
    pub errors: u64,
    /// These by SQLSTATE, with the first message of each.
    pub errors_by_sqlstate: BTreeMap<String, ErrorCount>,
    /// How often a query was sent again, for a serialization failure or a deadlock.
    pub retries: u64,
    /// How often a lost connection was replaced.
    pub reconnections: u64,
    /// From the start to the last answer.
    pub seconds: f64,
    /// Answered queries by `seconds`.
    pub queries_per_second: f64,
    /// Where the rate of many such runs lies 95 % confidence.
    pub rate_interval: Option<Interval>,
    /// From when a query was due, in a closed loop from sending it, to having its whole answer.
    pub response_us: Option<LatencySummary>,
    /// From sending it; where it differs.
    pub service_us: Option<LatencySummary>,
    /// The part of the response time before the server could begin: until it was sent, and behind the earlier
    /// queries of its own connection; where it can be other than 0. The server's time for queries whose answers come
    /// together, as with a Sync that they share, is shared out among them equally.
    pub waiting_us: Option<LatencySummary>,
    /// The rest of the response time.
    pub server_us: Option<LatencySummary>,
    /// How the load was made.
    pub load: LoadShape,
    /// When it was to end.
    pub limits: Limits,
    /// How an open loop's queries were sent.
    pub offered: Option<OfferedReport>,
    /// Second by second.
    pub series: Vec<Second>,
    /// Connection by connection, if that was asked for.
    pub connections: Option<Vec<ConnectionReport>>,
    /// How many answers were compared.
    pub checked: Option<Checked>,
    /// What bounded the run.
    pub bound: Verdict,
    /// The plans of the slowest arguments, if they were asked for.
    pub plans: Option<Vec<SlowPlan>>,
    /// The table whose rows were counted first, where a workload depends on it.
    pub table: Option<TableReport>,
    /// The server, and the settings that a time depends on.
    pub server: ServerFacts,
    /// How it compares with a run that was kept.
    pub comparison: Option<Comparison>,
}

/// The table whose rows were counted first.
#[derive(Debug, Clone, Serialize)]
pub struct TableReport {
    /// Its name.
    pub name: String,
    /// How many it had.
    pub rows: u64,
    /// How long the count took.
    pub count_seconds: f64,
}

/// One workload.
#[derive(Debug, Clone, Serialize)]
pub struct WorkloadReport {
    /// What it is called.
    pub name: String,
    /// How often it came, compared with the others.
    pub weight: u32,
    /// Its statements.
    pub statements: Vec<StatementReport>,
    /// How often it was answered.
    pub answered: u64,
    /// How often it was refused or lost.
    pub errors: u64,
    /// Its response times.
    pub response_us: Option<LatencySummary>,
}

/// One statement.
#[derive(Debug, Clone, Serialize)]
pub struct StatementReport {
    /// The statement.
    pub sql: String,
    /// Where its arguments come from, as config.toml has it.
    pub args: Vec<ArgSpec>,
    /// In a transaction, from the answer to the one before it to its own; BEGIN and COMMIT are listed too. Null where
    /// these share a Sync with others.
    pub took_us: Option<LatencySummary>,
}

/// How the load was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadShape {
    /// Connections asked over.
    pub connections: usize,
    /// Queries in flight on each of them.
    pub pipeline_depth: usize,
    /// Queries that shared a Sync, at most; when it is more than 1 they ran read-only.
    pub sync_every: NonZero<usize>,
    /// How statements were given to the server.
    pub protocol: Protocol,
    /// Where the arguments started.
    pub seed: u64,
    /// Queries a second that were to be sent; null in a closed loop.
    pub rate: Option<f64>,
    /// How they were spread over time; null in a closed loop.
    pub arrivals: Option<Arrivals>,
    /// What was asked before, and does not count.
    pub warm_up_seconds: f64,
    /// How often a query was sent again, at most.
    pub retries: u64,
    /// Whether answers were compared with those of a quiet connection.
    pub verify: bool,
}

/// How an open loop's queries were sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OfferedReport {
    /// How many were due.
    pub due: u64,
    /// How many of these were not sent when the time was up.
    pub unsent: u64,
    /// Whether the rate was kept: all was sent, nearly all of it while the time lasted, and answered.
    pub kept: bool,
    /// By how much the program's own clock was late for them, in microseconds: 99 of 100 less.
    pub lag_p99_us: f64,
    /// The most.
    pub lag_max_us: f64,
    /// By how much the queries were sent late, waiting for a place on a connection too: 99 of 100 less.
    pub late_p99_us: f64,
    /// The most.
    pub late_max_us: f64,
}

/// One connection.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ConnectionReport {
    /// Which one, from 1.
    pub connection: usize,
    /// Queries answered.
    pub answered: u64,
    /// Queries refused or lost.
    pub errors: u64,
    /// Its response times.
    pub response_us: Option<LatencySummary>,
}

/// How many answers were compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    /// How many.
    pub compared: u64,
    /// Results that did not match.
    pub different: u64,
    /// The first of them.
    pub first_difference: Option<String>,
}

impl RunReport {
    /// Why the run is to be taken for a failure, if it is: one line for each reason.
    pub fn failures(&self, max_errors: Option<u64>) -> Vec<String> {
        let mut failures = Vec::new();
        if self.errors > max_errors.unwrap_or(0) {
            failures.push(match max_errors {
                None => format!("{} of {} queries failed", self.errors, self.queries),
                Some(most) => format!("{} queries failed, more than the {most} of --max-errors", self.errors),
            });
        }
        if let Some(Checked { compared, different, first_difference: Some(first) }) = &self.checked {
            failures.push(format!("{different} of {compared} results did not match; the first: {first}"));
        }
        failures.extend(self.comparison.iter().flat_map(|comparison| comparison.failures.clone()));
        failures
    }
}

/// A run against one that was kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The file of that one.
    pub baseline: String,
    /// Settings that are not the same.
    pub different_settings: Vec<String>,
    /// Figure by figure.
    pub ratios: Vec<Ratio>,
    /// What `--fail-if` asked for, and is so.
    pub failures: Vec<String>,
}

/// One figure against the baseline's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ratio {
    /// Which figure.
    pub figure: &'static str,
    /// That of the baseline.
    pub baseline: f64,
    /// That of this run.
    pub now: f64,
    /// This one's by the baseline's.
    pub ratio: f64,
    /// Where the ratio lies 95 % confidence; null when too little was measured.
    pub interval: Option<Interval>,
    /// Whether that leaves 1 out, so that the two most likely differ.
    pub significant: bool,
}
