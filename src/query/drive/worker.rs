//! Running a plan: every connection sends queries, and records their results, until the last one has arrived.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinSet;
use tokio_postgres::Error as PgError;

use crate::postgres::pipeline::Pipeline;
use crate::postgres::server::SessionPool;
use crate::progress::Progress;
use crate::query::drive::alike::AlikeResults;
use crate::query::drive::connection::{Connection, ConnectionLane};
use crate::query::drive::lane::LaneQueries;
use crate::query::drive::plan::{Offered, RunPlan, RunResult};
use crate::query::drive::schedule::{Limits, Pacer};
use crate::query::drive::sender::{Completion, PendingQuery};
use crate::query::drive::shards::Shards;
use crate::query::measure::response_split::ResponseGroup;
use crate::query::measure::run_stats::RunStats;
use crate::query::measure::timeline::{CurrentSecond, Timeline};
use crate::query::verdict::sampler::Pids;
use crate::{Error, Result};

/// What the workers of a run share.
pub(super) struct RunState {
    pub(super) plan: RunPlan,
    /// The number of the next query, in a closed loop.
    pub(super) next: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) is_over: AtomicBool,
    pub(super) pacer: Option<Arc<Pacer>>,
    pub(super) start: Instant,
    pub(super) timeline: Arc<Timeline>,
    pub(super) progress: Arc<Progress>,
    /// For each host, the pool of connections to it.
    pub(super) pools: Vec<SessionPool>,
    /// For each host, the backends of the run.
    pub(super) pids: Vec<Pids>,
}

/// Why a connection stopped sending queries.
pub(super) enum End {
    /// No query is left to send.
    Over,
    /// The connection is lost.
    Lost,
    /// The statement writes, which queries that share a Sync may not.
    Fatal(PgError),
    /// The server has not answered this many queries in time.
    Silent(usize),
}

/// The most queries that a worker claims at once: others wait for the last ones of a run.
const MOST_CLAIMED: usize = 256;

/// How long to wait for the last results after an interruption.
const GRACE: Duration = Duration::from_secs(1);

/// How long to keep trying to replace a lost connection.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Carry out `plan` over `connections`, each on its shard; replacements for lost ones come from `pools`, one for each host.
///
/// Returns the result of the run, and the connections in their order.
///
/// # Errors
/// When the run had to end early and no query had succeeded.
pub(crate) async fn run(
    plan: RunPlan,
    connections: Vec<Connection>,
    pools: &[SessionPool],
    shards: &Shards,
    timeline: &Arc<Timeline>,
    pids: &[Pids],
    progress: &Arc<Progress>,
) -> Result<(RunResult, Vec<Connection>)> {
    let (start, started_at) = (Instant::now(), SystemTime::now());
    let (schedule, limits) = (plan.schedule.clone(), plan.limits);
    let state = Arc::new(RunState {
        next: AtomicU64::new(0),
        errors: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        pacer: schedule.map(|schedule| Pacer::new(schedule, start)),
        start,
        timeline: Arc::clone(timeline),
        progress: Arc::clone(progress),
        pools: pools.to_vec(),
        pids: pids.to_vec(),
        plan,
    });
    // As many as are in flight may be late at the end without the rate being too high.
    let spare = connections.len() as u64;
    let pacing = state.pacer.clone().map(|pacer| {
        let state = Arc::clone(&state);
        tokio::task::spawn_blocking(move || pacer.run(limits, spare, || state.is_stopped()))
    });
    let mut tasks = JoinSet::new();
    for (index, connection) in connections.into_iter().enumerate() {
        let state = Arc::clone(&state);
        let working = async move { (index, state.work(connection).await) };
        tasks.spawn_on(working, shards.handle(index));
    }
    let mut finished = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        finished.push(joined.expect("a worker neither panics nor is aborted"));
    }
    state.is_over.store(true, Relaxed);
    let offered = match pacing {
        Some(pacing) => {
            let (due, lag) = pacing.await.expect("the pacing thread does not panic");
            let sent = state.pacer.as_ref().map_or(0, |pacer| pacer.taken());
            Some(Offered { due, sent, lag })
        }
        None => None,
    };
    let (mut total, mut each, mut connections) = (RunStats::default(), Vec::new(), Vec::new());
    let mut hosts: Vec<RunStats> = Vec::new();
    if pools.len() > 1 {
        hosts.resize_with(pools.len(), RunStats::default);
    }
    let (mut ended_by, mut elapsed) = (None, Duration::ZERO);
    finished.sort_by_key(|(index, _)| *index);
    for (_, WorkerResult { stats, ended, connection }) in finished {
        elapsed = elapsed.max(ended - start);
        let mut own = RunStats::default();
        for (host, stats) in &stats {
            own.add(stats);
            if let Some(host) = hosts.get_mut(*host) {
                host.add(stats);
            }
        }
        total.add(&own);
        each.push(own);
        match connection {
            Ok(connection) => connections.push(connection),
            Err(error) => ended_by = ended_by.or(Some(error)),
        }
    }
    if let Some(error) = ended_by.take_if(|_| total.answered == 0) {
        return Err(error);
    }
    let timeline = Arc::clone(timeline);
    let result =
        RunResult { total, connections: each, hosts, started_at, elapsed, timeline, offered, ended_by };
    Ok((result, connections))
}

/// The result of one connection's worker.
struct WorkerResult {
    /// The hosts that its connections went to, one after the other, and what it did there.
    stats: Vec<(usize, RunStats)>,
    /// When it had its last result, or lost its connection for good.
    ended: Instant,
    /// The connection as it is now, or why it could not go on.
    connection: Result<Connection>,
}

/// The state of one connection's worker.
pub(super) struct Worker {
    /// The number of the host that the connection goes to.
    pub(super) host: usize,
    /// The process ID of the connection's backend.
    pub(super) pid: i32,
    /// What it has done on that host since the connection goes there.
    pub(super) stats: RunStats,
    /// What it did on the hosts before.
    earlier: Vec<(usize, RunStats)>,
    pub(super) second: CurrentSecond,
    /// Queries that were skipped or failed and are to be sent again; the oldest first, so that none is left to the
    /// end.
    pub(super) retry_queue: VecDeque<PendingQuery>,
    /// The results that arrived together last.
    pub(super) group: ResponseGroup,
    /// Whether the next result had to be waited for; otherwise it arrived together with the last one.
    pub(super) has_waited: bool,
    /// The last results that succeeded.
    pub(super) alike: AlikeResults,
    /// Queries of a closed loop that are this worker's to send next.
    claimed: ClaimedQueries,
}

/// Queries of a closed loop that one worker is to send at once.
#[derive(Debug)]
struct ClaimedQueries {
    /// Their numbers.
    numbers: Range<u64>,
    /// When they are sent: one look at the clock does for all of them.
    at: Instant,
}

impl Worker {
    /// Whether there are queries that only this worker can send.
    fn has_more(&self) -> bool {
        !self.retry_queue.is_empty() || !self.claimed.numbers.is_empty()
    }

    /// Go on over a new connection, to the backend `pid` on `host`.
    fn go_on(&mut self, host: usize, pid: i32) {
        if host != self.host {
            self.group.settle(&mut self.stats.split);
            self.earlier.push((self.host, std::mem::take(&mut self.stats)));
        }
        (self.host, self.pid) = (host, pid);
        self.stats.reconnections += 1;
    }
}

/// What to send next.
enum NextQuery {
    Query(PendingQuery),
    /// No query is due yet.
    Later,
    /// No query is left.
    End,
}

impl RunState {
    /// Whether nothing more is to be sent.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_over.load(Relaxed) || self.progress.is_cancelled()
    }

    /// Whether the run is stopped or its time is up.
    pub(super) fn is_past_end(&self) -> bool {
        self.is_stopped()
            || self.plan.limits.duration.is_some_and(|duration| self.start.elapsed() >= duration)
    }

    /// Wait until the time of the run, and that for its last results, is over.
    async fn overdue(&self) {
        match (self.plan.limits.duration, self.plan.limits.patience()) {
            (Some(duration), Some(patience)) => {
                tokio::time::sleep_until((self.start + duration + patience).into()).await;
            }
            _ => std::future::pending().await,
        }
    }

    /// Whether no new query is left to send.
    fn has_none_left(&self) -> bool {
        let Limits { queries, .. } = self.plan.limits;
        match &self.pacer {
            Some(pacer) => pacer.is_over(),
            None => self.is_past_end() || queries.is_some_and(|queries| self.next.load(Relaxed) >= queries),
        }
    }

    /// Send queries over `connection`, and over its replacement whenever it is lost, until the run is over.
    async fn work(&self, mut connection: Connection) -> WorkerResult {
        let mut worker = Worker {
            host: connection.host,
            pid: connection.pid,
            stats: RunStats::default(),
            earlier: Vec::new(),
            second: CurrentSecond::default(),
            retry_queue: VecDeque::new(),
            group: ResponseGroup::new(self.start),
            has_waited: true,
            alike: AlikeResults::default(),
            claimed: ClaimedQueries { numbers: 0..0, at: self.start },
        };
        let sender = &*self.plan.sender;
        // Since when the connection has been lost or awaited in vain: that time is not part of the run.
        let mut lost = None;
        let connection = loop {
            let end = if let Some(lane) = &connection.lane {
                self.send_over_lane(&mut worker, lane).await
            } else {
                self.send_until_end(&mut worker, |query| sender.send(&connection, query)).await
            };
            match end {
                End::Over => break Ok(connection),
                End::Fatal(error) => break Err(self.explain(&error)),
                End::Silent(queries) => {
                    let Limits { duration, .. } = self.plan.limits;
                    let patience = self.plan.limits.patience().unwrap_or_default();
                    lost = duration.map(|duration| self.start + duration);
                    worker.stats.unanswered(queries as u64, patience);
                    connection.close();
                    break Err(silent(queries, patience));
                }
                // A connection that was lost with the last query need not be replaced.
                End::Lost if self.is_stopped() || (!worker.has_more() && self.has_none_left()) => {
                    break Ok(connection);
                }
                End::Lost => {
                    lost = Some(Instant::now());
                    worker.second.hand_over(&self.timeline);
                    match self.replace(connection).await {
                        Ok(new) => {
                            (connection, lost) = (new, None);
                            worker.go_on(connection.host, connection.pid);
                        }
                        Err(error) => break Err(error),
                    }
                }
            }
        };
        if connection.is_err() {
            self.is_over.store(true, Relaxed);
        }
        worker.group.settle(&mut worker.stats.split);
        worker.second.hand_over(&self.timeline);
        let Worker { host, stats, earlier: mut all, .. } = worker;
        all.push((host, stats));
        WorkerResult { stats: all, ended: lost.unwrap_or_else(Instant::now), connection }
    }

    /// Send queries and record their results until no query is left to send.
    async fn send_until_end<F: Future<Output = Completion>>(
        &self,
        worker: &mut Worker,
        send: impl Fn(PendingQuery) -> F,
    ) -> End {
        let mut pipeline = Pipeline::new(self.plan.depth);
        let mut end = None;
        let mut grace_over = pin!(grace_over(&self.progress));
        let mut overdue = pin!(self.overdue());
        loop {
            while !self.sends_no_more(end.as_ref(), worker) && !pipeline.is_full() {
                match self.next(worker, pipeline.is_empty(), 1).await {
                    NextQuery::Query(query) => pipeline.push_with(|| send(query), 0).await,
                    NextQuery::Later => break,
                    NextQuery::End => end = Some(End::Over),
                }
            }
            // Once the run is over or the pipeline full, only results are waited for.
            let pacer = self.pacer.as_ref().filter(|_| end.is_none() && !pipeline.is_full());
            let completion = tokio::select! {
                biased;
                completion = note_wait(pipeline.pop(), &mut worker.has_waited) => completion,
                due = async { pacer.expect("this branch has one").next().await }, if pacer.is_some() => {
                    match due {
                        Some((index, due)) => {
                            let query = self.query(index, due, Instant::now());
                            pipeline.push_with(|| send(query), 0).await;
                        }
                        None => end = Some(End::Over),
                    }
                    continue;
                }
                // The server has fallen silent, and the user waits for the report.
                () = &mut grace_over => return End::Lost,
                () = &mut overdue => return End::Silent(pipeline.len()),
            };
            let Some(completion) = completion else { break };
            self.record_and_end(completion, worker, &mut end);
            worker.alike.settle(&mut worker.stats, &mut worker.second, &self.timeline);
        }
        end.unwrap_or(End::Over)
    }

    /// Whether nothing more is to be sent over a connection, on which `end` was found.
    fn sends_no_more(&self, end: Option<&End>, worker: &Worker) -> bool {
        match end {
            None => false,
            Some(End::Over) => worker.retry_queue.is_empty() || self.is_stopped(),
            Some(_) => true,
        }
    }

    /// Record the result of a query, and put into `end` why no further queries should be sent.
    fn record_and_end(&self, completion: Completion, worker: &mut Worker, end: &mut Option<End>) {
        match self.record(completion, worker) {
            // The first failure is the cause; later ones in the pipeline follow from it.
            Some(new) if matches!(end, None | Some(End::Over)) => *end = Some(new),
            _ => {}
        }
    }

    /// As [`send_until_end`](Self::send_until_end), over the lane of a connection. What arrived together has one time.
    async fn send_over_lane(&self, worker: &mut Worker, lane: &ConnectionLane) -> End {
        let RunPlan { sender, depth, sync_every, shares_syncs, .. } = &self.plan;
        let Ok(mut queries) = LaneQueries::begin(lane, sender, *sync_every).await else { return End::Lost };
        let has_groups = *shares_syncs && self.pacer.is_none();
        let group = if has_groups { sync_every.get().min(depth / 2).max(1) } else { 1 };
        let mut end = None;
        let mut grace_over = pin!(grace_over(&self.progress));
        let mut overdue = pin!(self.overdue());
        loop {
            if !worker.claimed.numbers.is_empty() {
                // What was left over is sent only now.
                worker.claimed.at = Instant::now();
            }
            // In whole groups: the server works on one while the next is made, and each Sync and each wake-up costs both.
            let may_fill = queries.len() + group <= *depth;
            while may_fill && !self.sends_no_more(end.as_ref(), worker) && queries.have_room(*depth) {
                let at_once = if has_groups { (depth - queries.len()).min(MOST_CLAIMED) } else { 1 };
                match self.next(worker, queries.is_empty(), at_once).await {
                    NextQuery::Query(query) => queries.send(query),
                    NextQuery::Later => break,
                    NextQuery::End => end = Some(End::Over),
                }
            }
            let pacer = self.pacer.as_ref().filter(|_| end.is_none() && queries.have_room(*depth));
            let first = tokio::select! {
                biased;
                first = note_wait(queries.next(), &mut worker.has_waited) => first,
                due = async { pacer.expect("this branch has one").next().await }, if pacer.is_some() => {
                    match due {
                        Some((index, due)) => queries.send(self.query(index, due, Instant::now())),
                        None => end = Some(End::Over),
                    }
                    continue;
                }
                // The server has fallen silent, and the user waits for the report.
                () = &mut grace_over => return End::Lost,
                () = &mut overdue => return End::Silent(queries.len()),
            };
            let Some(first) = first else { break };
            if queries.are_broken() {
                self.pools[worker.host].messages().keep_last_words(&lane.control);
            }
            let read_at = first.done;
            let mut arrived = Some(first);
            while let Some(completion) = arrived {
                self.record_and_end(completion, worker, &mut end);
                // With a Sync each, they arrive one by one.
                let done = if *shares_syncs { read_at } else { Instant::now() };
                arrived = queries.next_arrived(done);
            }
            worker.alike.settle(&mut worker.stats, &mut worker.second, &self.timeline);
        }
        drop(queries);
        // Until the driver has taken the last warnings of the server, so that the report has them.
        let _ = LaneQueries::begin(lane, sender, *sync_every).await;
        end.unwrap_or(End::Over)
    }

    /// The next query, of up to `at_once` that will be sent together; if it `may_wait`, wait until one is due.
    async fn next(&self, worker: &mut Worker, may_wait: bool, at_once: usize) -> NextQuery {
        if let Some(query) = worker.retry_queue.pop_front() {
            return NextQuery::Query(PendingQuery { tried: Instant::now(), ..query });
        }
        let Some(pacer) = &self.pacer else { return self.next_at_once(&mut worker.claimed, at_once) };
        let due = if may_wait { pacer.next().await } else { pacer.try_next() };
        match due {
            Some((index, due)) if !self.is_stopped() => {
                NextQuery::Query(self.query(index, due, Instant::now()))
            }
            None if !may_wait && !pacer.is_over() => NextQuery::Later,
            _ => NextQuery::End,
        }
    }

    /// The next query of a closed loop: of those `claimed`, or of as many more as are sent `at_once`.
    fn next_at_once(&self, claimed: &mut ClaimedQueries, at_once: usize) -> NextQuery {
        let Limits { queries, duration } = self.plan.limits;
        if claimed.numbers.is_empty() {
            let first = self.next.fetch_add(at_once as u64, Relaxed);
            let end = (first + at_once as u64).min(queries.unwrap_or(u64::MAX));
            *claimed = ClaimedQueries { numbers: first..end, at: Instant::now() };
        }
        let at = claimed.at;
        match claimed.numbers.next() {
            Some(number)
                if !self.is_stopped() && duration.is_none_or(|duration| at - self.start < duration) =>
            {
                NextQuery::Query(self.query(number, at, at))
            }
            _ => NextQuery::End,
        }
    }

    fn query(&self, index: u64, due: Instant, sent: Instant) -> PendingQuery {
        let (workload, iteration) = self.plan.sender.mix.at(self.plan.first.wrapping_add(index));
        PendingQuery {
            workload,
            iteration,
            due,
            sent,
            tried: sent,
            retries: 0,
            earlier_tries: Duration::ZERO,
        }
    }

    fn explain(&self, error: &PgError) -> Error {
        let names: Vec<&str> =
            self.plan.sender.mix.workloads.iter().map(|workload| workload.name.as_str()).collect();
        Error::describe(&format!("run query {}", names.join(", ")), error).with_help(
            "queries that share a Sync run read-only; --sync-every 1 gives each its own Sync, so that it may write",
        )
    }

    /// Open a connection to replace one that was lost: to the same host, or, if that is gone, to the next of the others.
    async fn replace(&self, lost: Connection) -> Result<Connection> {
        let (pid, host, hosts) = (lost.pid, lost.host, self.pools.len());
        lost.close();
        let until = Instant::now() + RECONNECT_TIMEOUT;
        let mut pause = Duration::from_millis(20);
        loop {
            let mut failed = None;
            for next in (host..hosts).chain(0..host) {
                let (workloads, uses_lane) = (&self.plan.sender.mix.workloads, self.plan.uses_lane);
                match Connection::open((&self.pools[next], next), workloads, uses_lane).await {
                    Ok(connection) => {
                        self.pids[host].remove(pid);
                        self.pids[next].add(connection.pid);
                        return Ok(connection);
                    }
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            let error = failed.expect("there is a host");
            if self.is_stopped() || Instant::now() >= until {
                return Err(Error::new(error.kind(), format!("a connection was lost: {error}"))
                    .with_help("the server went away during the run; see the server log for the reason"));
            }
            // A restarting server does not announce when it is ready.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}

/// The error that reports that `queries` had no result within `patience` after the end of the run.
fn silent(queries: usize, patience: Duration) -> Error {
    let seconds = patience.as_secs_f64();
    let queries = if queries == 1 { "1 query".to_owned() } else { format!("{queries} queries") };
    Error::connect(format!("{queries} had no result {seconds} s after the end of the run"))
        .with_help("the server is silent or overloaded; look at pg_stat_activity and the server's log")
}

/// Wait until the run is interrupted and the time for its last results is over.
pub(crate) async fn grace_over(progress: &Progress) {
    progress.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// Await `result`, and set `has_waited` if it was not ready at once.
async fn note_wait<A>(result: impl Future<Output = A>, has_waited: &mut bool) -> A {
    let mut result = pin!(result);
    poll_fn(|cx| {
        let polled = result.as_mut().poll(cx);
        *has_waited |= polled.is_pending();
        polled
    })
    .await
}
