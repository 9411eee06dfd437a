//! Recording the result of a query: its latencies, its failure, and how it compares with the expected one.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio_postgres::Error as PgError;
use tokio_postgres::error::SqlState;
use tokio_postgres_sync_batching::is_skipped;

use crate::query::drive::alike::AlikeResults;
use crate::query::drive::connection::is_lost;
use crate::query::drive::digest::ResultDigest;
use crate::query::drive::expected::Compared;
use crate::query::drive::sender::{Completion, PendingQuery, is_worth_another_try};
use crate::query::drive::worker::{End, RunState, Worker};
use crate::query::measure::latency::Latencies;
use crate::query::measure::response_split::ResponseGroup;
use crate::query::measure::run_stats::{RunStats, WorkloadStats};
use crate::query::measure::timeline::CurrentSecond;

impl RunState {
    /// Record the result of a query. Returns why no further queries should be sent; `None` to go on.
    pub(super) fn record(&self, completion: Completion, worker: &mut Worker) -> Option<End> {
        let Completion { query, done, mut statements, result } = completion;
        let Worker { host, stats, second, group, has_waited, alike, .. } = worker;
        let was_skipped = self.plan.shares_syncs && result.as_ref().is_err_and(is_skipped);
        // When the server can have begun to work on the query; it never did on one that it skipped.
        let begun = if was_skipped {
            done
        } else {
            // With a Sync each they arrive one by one, even if several are read at once.
            let came_alone = std::mem::take(has_waited) || !self.plan.shares_syncs;
            group.arrived(query.tried, done, came_alone, &mut stats.split)
        };
        let workloads = &self.plan.sender.mix.workloads;
        // For a lone single statement the total says everything.
        let is_apart = workloads.len() > 1 || workloads[0].begin.is_some();
        match result {
            Ok(digest) => {
                self.record_success(query, done, stats, second, group, alike);
                if let Some(begin) = statements.first_mut() {
                    // Time spent queued behind earlier queries is waiting, not part of BEGIN.
                    *begin = begin.saturating_sub(begun - query.tried);
                }
                if is_apart || self.plan.keeps_slowest {
                    stats.workloads.resize_with(workloads.len(), WorkloadStats::default);
                    self.record_workload(
                        query,
                        begun,
                        done,
                        &statements,
                        &mut stats.workloads[query.workload],
                    );
                }
                self.compare(query, digest, *host, stats);
                None
            }
            // It never ran and only reads: send it again, and count it neither as an error nor as lost.
            Err(_) if was_skipped => {
                if !self.is_stopped() {
                    worker.retry_queue.push_back(query);
                }
                None
            }
            Err(error) => self.record_failure(query, error, (begun, done), is_apart, worker),
        }
    }

    /// Record a query that failed with `error`, on which the server began to work at `begun`. Returns why no further
    /// queries should be sent; `None` to go on.
    fn record_failure(
        &self,
        query: PendingQuery,
        error: PgError,
        (begun, done): (Instant, Instant),
        is_apart: bool,
        worker: &mut Worker,
    ) -> Option<End> {
        let Worker { host, stats, second, retry_queue, pid: worker_pid, .. } = worker;
        let workloads = &self.plan.sender.mix.workloads;
        match error {
            error
                if query.retries < self.plan.retries
                    && is_worth_another_try(&error)
                    && !self.is_past_end() =>
            {
                stats.retries += 1;
                let earlier_tries = query.earlier_tries + (done - begun);
                retry_queue.push_back(PendingQuery { retries: query.retries + 1, earlier_tries, ..query });
                None
            }
            // It was cancelled with the run.
            _ if self.progress.is_cancelled() => Some(End::Over),
            error if self.is_read_only(&error) => Some(End::Fatal(error)),
            error => {
                let doing = format!("run query {}", workloads[query.workload].name);
                let messages = self.pools[*host].messages();
                stats.failed(&doing, &error, messages.last_words_of(*worker_pid).as_ref());
                second.failed(done - self.start, &self.timeline);
                if is_apart {
                    stats.workloads.resize_with(workloads.len(), WorkloadStats::default);
                    stats.workloads[query.workload].errors += 1;
                }
                if self.errors.fetch_add(1, Relaxed) >= self.plan.max_errors {
                    self.is_over.store(true, Relaxed);
                    return Some(End::Over);
                }
                is_lost(&error).then_some(End::Lost)
            }
        }
    }

    /// Count a query that succeeded, and record its latencies; the last of its response times waits in `alike`.
    #[inline]
    fn record_success(
        &self,
        query: PendingQuery,
        done: Instant,
        stats: &mut RunStats,
        second: &mut CurrentSecond,
        group: &mut ResponseGroup,
        alike: &mut AlikeResults,
    ) {
        stats.answered += 1;
        let at = done - self.start;
        if !self.plan.takes_times {
            second.count(at, 1, &self.timeline);
            return;
        }
        let response = done - query.due;
        if !alike.add(at, response) {
            alike.settle(stats, second, &self.timeline);
            alike.add(at, response);
        }
        if self.pacer.is_some() {
            stats.service.record(done - query.sent);
            stats.late.record(query.sent - query.due);
        }
        if self.plan.depth > 1 || self.pacer.is_some() {
            group.succeeded(response, query.earlier_tries);
        }
    }

    /// Record a query that succeeded in the statistics of its workload.
    fn record_workload(
        &self,
        query: PendingQuery,
        begun: Instant,
        done: Instant,
        statements: &[Duration],
        stats: &mut WorkloadStats,
    ) {
        stats.answered += 1;
        if !self.plan.takes_times {
            return;
        }
        let response = done - query.due;
        stats.response.record(response);
        stats.batch_means.record_n(done - self.start, response, 1);
        stats.statements.resize_with(statements.len(), Latencies::default);
        for (latencies, took) in stats.statements.iter_mut().zip(statements) {
            latencies.record(*took);
        }
        stats.slowest = stats.slowest.max(Some((query.earlier_tries + (done - begun), query.iteration)));
    }

    /// Compare a result of the host with the number `host` with the expected one, if results are compared.
    fn compare(&self, query: PendingQuery, digest: ResultDigest, host: usize, stats: &mut RunStats) {
        let Some(expected) = &self.plan.expected else { return };
        let (mix, PendingQuery { workload, iteration, .. }) = (&self.plan.sender.mix, query);
        let difference = match expected.compare(&digest, mix, workload, iteration) {
            Compared::NotComparable => return,
            Compared::Same => None,
            Compared::Different(difference) => Some(difference),
        };
        stats.compared += 1;
        if let Some(difference) = difference {
            stats.different += 1;
            let first = || {
                let endpoint = self.pools[host].endpoint().filter(|_| self.pools.len() > 1);
                let at = endpoint.map_or_else(String::new, |endpoint| format!(" at {endpoint}"));
                format!("{}{at}: {difference}", mix.describe(workload, iteration))
            };
            stats.first_difference.get_or_insert_with(first);
        }
    }

    /// Whether the statement failed because it writes, which queries that share a Sync may not.
    fn is_read_only(&self, error: &PgError) -> bool {
        self.plan.shares_syncs && error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
    }
}
