//! What was seen: by one connection, and added up by all.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio_postgres::Error as PgError;

use crate::Error;
use crate::query::measure::batch_means::BatchMeans;
use crate::query::measure::latency::Latencies;
use crate::query::measure::response_split::Split;

/// Answers, errors and times.
#[derive(Debug, Default)]
pub(crate) struct RunStats {
    /// Queries that were answered.
    pub answered: u64,
    /// Queries that were refused or lost, by SQLSTATE.
    pub errors: BTreeMap<String, ErrorCount>,
    /// How often a query was sent again, for a serialization failure or a deadlock.
    pub retries: u64,
    /// How often a lost connection was replaced.
    pub reconnections: u64,
    /// From when a query was due (in a closed loop: sent) to having its whole answer.
    pub response: Latencies,
    /// From sending it to having its whole answer; only in an open loop, where it differs.
    pub service: Latencies,
    /// How long after it was due it was sent; only in an open loop.
    pub late: Latencies,
    /// The response time in two parts; where queries can wait for others.
    pub split: Split,
    /// The response times by when they came.
    pub batches: BatchMeans,
    /// By workload; empty where the whole says the same.
    pub workloads: Vec<WorkloadStats>,
    /// Answers that were compared, and those that were not as expected.
    pub compared: u64,
    /// The first of these.
    pub differences: (u64, Option<String>),
}

/// What one workload of a mix, or of transactions, came to.
#[derive(Debug, Default)]
pub(crate) struct WorkloadStats {
    /// How often it was answered.
    pub answered: u64,
    /// How often it was refused or lost.
    pub errors: u64,
    /// Its response times.
    pub response: Latencies,
    /// These by when they came.
    pub batches: BatchMeans,
    /// Of a transaction, what each statement took: from the answer to the one before it to its own.
    pub statements: Vec<Latencies>,
    /// The longest that the server took, and for which run of it.
    pub slowest: Option<(Duration, u64)>,
}

/// How often an error came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorCount {
    /// So often.
    pub count: u64,
    /// What the server said the first time.
    pub first: String,
}

impl RunStats {
    /// Count `error`.
    pub(crate) fn refused(&mut self, doing: &str, error: &PgError) {
        let count = self
            .errors
            .entry(sqlstate(error).to_owned())
            .or_insert_with(|| ErrorCount { count: 0, first: Error::database(doing, error).to_string() });
        count.count += 1;
    }

    /// How many errors there were.
    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().map(|error| error.count).sum()
    }

    /// Count all of `other`.
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
        self.batches.add(&other.batches);
        self.differences.0 += other.differences.0;
        self.differences.1 = self.differences.1.take().or_else(|| other.differences.1.clone());
        self.workloads.resize_with(self.workloads.len().max(other.workloads.len()), WorkloadStats::default);
        for (own, other) in self.workloads.iter_mut().zip(&other.workloads) {
            own.answered += other.answered;
            own.errors += other.errors;
            own.response.add(&other.response);
            own.batches.add(&other.batches);
            own.statements.resize_with(own.statements.len().max(other.statements.len()), Latencies::default);
            for (own, other) in own.statements.iter_mut().zip(&other.statements) {
                own.add(other);
            }
            own.slowest = own.slowest.max(other.slowest);
        }
    }
}

/// The SQLSTATE of `error`; that of a lost connection when the server did not get to say any, and `client` for what
/// was not sent at all.
pub(crate) fn sqlstate(error: &PgError) -> &str {
    match error.code() {
        Some(code) => code.code(),
        None if error.is_closed() => "08006",
        None => "client",
    }
}
