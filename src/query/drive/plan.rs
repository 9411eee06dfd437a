//! What a run is to do, and its result.

use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::Error;
use crate::query::drive::expected::Expected;
use crate::query::drive::schedule::{Limits, Schedule};
use crate::query::drive::sender::QuerySender;
use crate::query::measure::latency::Latencies;
use crate::query::measure::run_stats::RunStats;
use crate::query::measure::timeline::Timeline;

/// What a run is to do.
#[derive(Debug)]
pub(crate) struct RunPlan {
    /// The queries, and how they are sent.
    pub sender: Arc<QuerySender>,
    /// Queries, or transactions, in flight on each connection.
    pub depth: usize,
    /// When the run ends.
    pub limits: Limits,
    /// When queries are due; `None` in a closed loop.
    pub schedule: Option<Schedule>,
    /// The number of the first query.
    pub first: u64,
    /// Queries that share a Sync, at most.
    pub sync_every: NonZero<usize>,
    /// Whether queries go over the lanes of the connections, not through the driver.
    pub uses_lane: bool,
    /// Whether queries share Syncs, so that the failure of one may skip others.
    pub shares_syncs: bool,
    /// How many times a query is sent again after a serialization failure or a deadlock.
    pub retries: u64,
    /// Whether latencies are measured.
    pub takes_times: bool,
    /// Whether the slowest iteration of each workload is remembered.
    pub keeps_slowest: bool,
    /// The run ends after more errors than this.
    pub max_errors: u64,
    /// What the results should be; `None` if they are not compared.
    pub expected: Option<Expected>,
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct RunResult {
    /// The statistics of all connections.
    pub total: RunStats,
    /// The statistics of each connection.
    pub connections: Vec<RunStats>,
    /// The statistics of each host; empty if there is only one.
    pub hosts: Vec<RunStats>,
    /// When the first query could be sent, by the clock of this machine.
    pub started_at: SystemTime,
    /// From the start to the last result.
    pub elapsed: Duration,
    /// The run second by second.
    pub timeline: Arc<Timeline>,
    /// How the queries of an open loop were sent; `None` in a closed loop.
    pub offered: Option<Offered>,
    /// Why the run ended early: a lost connection could not be replaced, or a statement wrote in a read-only session.
    pub ended_by: Option<Error>,
}

/// How the queries of an open loop were sent.
#[derive(Debug)]
pub(crate) struct Offered {
    /// Queries that were due.
    pub due: u64,
    /// Those of them that were sent.
    pub sent: u64,
    /// How late the pacing thread itself released them.
    pub lag: Latencies,
}

/// An open loop kept its rate if this share of the queries that were due succeeded by the end; the rest allows for
/// chance in how many were due.
const KEPT_SHARE: f64 = 0.9;

/// An open loop kept its rate if at most one in this many queries was not sent by the end.
const UNSENT_SHARE: u64 = 1000;

impl Offered {
    /// Whether (nearly) all queries that were due were sent over this many `connections`. A run that is cut off by the
    /// clock leaves out a few that fell due in its last moment, however fast the server is.
    fn is_sent(&self, connections: u64) -> bool {
        let at_the_end = connections.min(self.due / 50);
        self.due - self.sent <= at_the_end.max(self.due / UNSENT_SHARE)
    }
}

impl RunResult {
    /// Whether an open loop kept up with `rate` queries per second.
    pub(crate) fn kept(&self, rate: f64) -> bool {
        let Some(offered) = &self.offered else { return false };
        let due = offered.due as f64;
        let in_flight = self.connections.len() as f64;
        let reached = self.total.answered as f64;
        let in_time = rate * self.elapsed.as_secs_f64();
        // With a fixed number of queries all of them are sent in the end, but too late.
        offered.is_sent(self.connections.len() as u64)
            && reached >= KEPT_SHARE * due - in_flight
            && due >= KEPT_SHARE * in_time - 3.0 * in_time.sqrt() - in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_unsent_queries_are_the_end_of_a_run_not_too_high_a_rate() {
        for (due, sent, is_sent) in [
            (50_000, 50_000, true),
            (50_000, 49_998, true),
            (50_000, 49_950, true),
            (50_000, 49_949, false),
            (1000, 996, true),
            (1000, 995, false),
            (20, 20, true),
            (20, 19, false),
        ] {
            let offered = Offered { due, sent, lag: Latencies::default() };
            assert_eq!(offered.is_sent(4), is_sent, "{sent} of {due}");
        }
    }
}
