//! The statistics of a run: of one connection, or the sum over all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_postgres::Error as PgError;

use crate::Error;
use crate::postgres::server_messages::LastWords;
use crate::query::measure::batch_means::BatchMeans;
use crate::query::measure::latency::{Latencies, LatencySummary};
use crate::query::measure::response_split::ResponseSplit;

/// Results, errors and latencies.
#[derive(Debug, Default)]
pub(crate) struct RunStats {
    /// Queries that succeeded.
    pub answered: u64,
    /// Queries that failed, by SQLSTATE.
    pub errors: BTreeMap<String, ErrorCount>,
    /// How many times a query was sent again after a serialization failure or a deadlock.
    pub retries: u64,
    /// How many lost connections were replaced.
    pub reconnections: u64,
    /// From when a query was due (in a closed loop: sent) to the last of its result.
    pub response: Latencies,
    /// From sending a query to the last of its result; only in an open loop, where it differs from the response time.
    pub service: Latencies,
    /// How late queries were sent after they were due; only in an open loop.
    pub late: Latencies,
    /// The two parts of the response time, where queries can wait for others.
    pub split: ResponseSplit,
    /// The response times by when the results arrived.
    pub batch_means: BatchMeans,
    /// Statistics by workload; empty where the totals say the same.
    pub workloads: Vec<WorkloadStats>,
    /// Results that were compared.
    pub compared: u64,
    /// Compared results that were not as expected.
    pub different: u64,
    /// The first of these, and in what it differs.
    pub first_difference: Option<String>,
}

/// The statistics of one workload of a mix, or of a workload with a transaction.
#[derive(Debug, Default)]
pub(crate) struct WorkloadStats {
    /// Iterations that succeeded.
    pub answered: u64,
    /// Iterations that failed.
    pub errors: u64,
    /// Its response times.
    pub response: Latencies,
    /// Its response times by when the results arrived.
    pub batch_means: BatchMeans,
    /// How long each statement of a transaction took: from the result of the one before it to its own.
    pub statements: Vec<Latencies>,
    /// The longest time that the server took for an iteration, and the number of that iteration.
    pub slowest: Option<(Duration, u64)>,
}

/// What stands for the SQLSTATE of queries without a result.
const UNANSWERED: &str = "silent";

/// The errors with one SQLSTATE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorCount {
    /// The number of errors.
    pub count: u64,
    /// The message of the first one.
    pub first: String,
    /// What to do about the first one; `None` where it is not known.
    pub help: Option<String>,
}

impl RunStats {
    /// Count a query that failed with `error` while `doing` something; `last_words` are those of the server if the
    /// connection is closed.
    pub(crate) fn failed(&mut self, doing: &str, error: &PgError, last_words: Option<&LastWords>) {
        let last_words = last_words.filter(|_| error.code().is_none());
        let code = last_words.map_or_else(|| sqlstate(error), |words| &words.code).to_owned();
        let count = self.errors.entry(code).or_insert_with(|| {
            let mut first = Error::describe(doing, error);
            if let Some(words) = last_words {
                first = first.and(&format!("the server ended the session: {words}"));
            }
            ErrorCount { count: 0, help: first.help().map(str::to_owned), first: first.to_string() }
        });
        count.count += 1;
    }

    /// Count `queries` that had no result within `patience` after the end of the run.
    pub(crate) fn unanswered(&mut self, queries: u64, patience: Duration) {
        let count = self.errors.entry(UNANSWERED.to_owned()).or_insert_with(|| ErrorCount {
            count: 0,
            first: format!("no result within {} s after the end of the run", patience.as_secs_f64()),
            help: None,
        });
        count.count += queries;
    }

    /// The number of queries that failed.
    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().map(|error| error.count).sum()
    }

    /// Add the statistics of `other`.
    pub(crate) fn add(&mut self, other: &RunStats) {
        self.answered += other.answered;
        self.retries += other.retries;
        self.reconnections += other.reconnections;
        self.compared += other.compared;
        for (sqlstate, error) in &other.errors {
            self.errors
                .entry(sqlstate.clone())
                .and_modify(|count| count.count += error.count)
                .or_insert_with(|| error.clone());
        }
        self.response.add(&other.response);
        self.service.add(&other.service);
        self.late.add(&other.late);
        self.split.add(&other.split);
        self.batch_means.add(&other.batch_means);
        self.different += other.different;
        self.first_difference = self.first_difference.take().or_else(|| other.first_difference.clone());
        self.workloads.resize_with(self.workloads.len().max(other.workloads.len()), WorkloadStats::default);
        for (own, other) in self.workloads.iter_mut().zip(&other.workloads) {
            own.add(other);
        }
    }
}

impl WorkloadStats {
    fn add(&mut self, other: &WorkloadStats) {
        self.answered += other.answered;
        self.errors += other.errors;
        self.response.add(&other.response);
        self.batch_means.add(&other.batch_means);
        self.statements.resize_with(self.statements.len().max(other.statements.len()), Latencies::default);
        for (own, other) in self.statements.iter_mut().zip(&other.statements) {
            own.add(other);
        }
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// The summary of `latencies`; `None` if there are none.
pub(crate) fn summary(latencies: &Latencies) -> Option<LatencySummary> {
    (!latencies.is_empty()).then(|| latencies.summary())
}

/// As [`summary`], with the confidence interval of the mean that follows from `batch_means`.
pub(crate) fn with_interval(latencies: &Latencies, batch_means: &BatchMeans) -> Option<LatencySummary> {
    let summary = summary(latencies)?;
    Some(LatencySummary { mean_interval: batch_means.mean_interval(summary.mean), ..summary })
}

/// The SQLSTATE of `error`: 08006 (connection failure) if the connection was lost before the server reported any, and
/// `client` for a query that was never sent.
fn sqlstate(error: &PgError) -> &str {
    match error.code() {
        Some(code) => code.code(),
        None if is_broken(error) => "08006",
        None => "client",
    }
}

/// Whether the connection broke: the driver says that it is closed, the lane beside it why reading or writing failed.
pub(crate) fn is_broken(error: &PgError) -> bool {
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_closed() || io.is_some_and(|io| io.kind() != std::io::ErrorKind::InvalidInput)
}
