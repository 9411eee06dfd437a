//! One measured result: queries over all connections, from the first that is sent to the last answer.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::Error as PgError;
use tokio_postgres::error::SqlState;

use crate::postgres::pipeline::Pipeline;
use crate::postgres::server::SessionPool;
use crate::progress::Progress;
use crate::query::drive::schedule::{Limits, Pacer, Schedule};
use crate::query::drive::sender::{
    Completion, Connection, Query, QuerySender, ResultDigest, is_worth_another_try,
};
use crate::query::drive::shards::Shards;
use crate::query::measure::latency::Latencies;
use crate::query::measure::response_split::Arrival;
use crate::query::measure::tally::{RunStats, WorkloadStats};
use crate::query::measure::timeline::{CurrentSecond, Timeline};
use crate::query::verdict::Pids;
use crate::{Error, Result};
use tokio_postgres_sync_batching::is_skipped;

/// What a result is to do.
#[derive(Debug)]
pub(crate) struct RunPlan {
    /// What is asked, and how.
    pub sender: Arc<QuerySender>,
    /// Queries, or transactions, on the way at once on each connection.
    pub depth: usize,
    /// When it ends; `None` and `None` is never.
    pub limits: Limits,
    /// When queries are due, in an open loop.
    pub schedule: Option<Schedule>,
    /// The number of the first query.
    pub first: u64,
    /// Whether queries share Syncs, and so may be skipped for the failure of another.
    pub batches: bool,
    /// How often a query is sent again after a serialization failure or a deadlock.
    pub retries: u64,
    /// Whether times are taken.
    pub takes_times: bool,
    /// Whether the slowest run of each workload is remembered.
    pub keeps_slowest: bool,
    /// It ends when there are more errors.
    pub max_errors: u64,
    /// What the answers should be.
    pub expected: Option<Expected>,
}

/// What a quiet connection was told, by workload and arguments; `None` where it was refused.
pub(crate) type Answers = HashMap<(usize, String), Option<ResultDigest>>;

/// What answers are compared with.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    /// Those of a quiet connection.
    Answers(Arc<Answers>),
    /// So many rows, and this first value, where they are given.
    Given {
        /// How many rows.
        rows: Option<u64>,
        /// The hash of the first row's first value, or `None` for NULL or no row; and the value as it was given.
        value: Option<(Option<u64>, String)>,
    },
}

/// What a result came to.
#[derive(Debug)]
pub(crate) struct RunResult {
    /// What was seen on all connections.
    pub total: RunStats,
    /// What was seen on each.
    pub connections: Vec<RunStats>,
    /// From the start to the last answer.
    pub elapsed: Duration,
    /// Second by second.
    pub timeline: Arc<Timeline>,
    /// Of an open loop.
    pub offered: Option<Offered>,
    /// Why it ended early: a connection was lost and could not be replaced, or a statement writes and may not.
    pub ended_by: Option<Error>,
}

/// How an open loop's queries were sent.
#[derive(Debug)]
pub(crate) struct Offered {
    /// How many were due.
    pub due: u64,
    /// How many of them were sent.
    pub sent: u64,
    /// By how much the clock of the program itself was late for them.
    pub lag: Latencies,
}

/// What all connections share.
struct Run {
    plan: RunPlan,
    next: AtomicU64,
    errors: AtomicU64,
    is_over: AtomicBool,
    pacer: Option<Arc<Pacer>>,
    start: Instant,
    timeline: Arc<Timeline>,
    progress: Arc<Progress>,
    pids: Pids,
}

/// How one connection's part ended.
enum End {
    /// There is nothing left to ask.
    Over,
    /// The connection is gone.
    Lost,
    /// The statement is not for queries that share a Sync.
    Fatal(PgError),
}

/// How long answers are waited for after an interruption.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How long a lost connection is tried to be replaced.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ask over `connections`, which are those of `pool`, each on its shard; they come back in their order.
///
/// # Errors
/// When nothing was answered before it had to end.
pub(crate) async fn run(
    plan: RunPlan,
    connections: Vec<Connection>,
    pool: &SessionPool,
    shards: &Shards,
    timeline: &Arc<Timeline>,
    pids: &Pids,
    progress: &Arc<Progress>,
) -> Result<(RunResult, Vec<Connection>)> {
    let start = Instant::now();
    let (schedule, limits) = (plan.schedule.clone(), plan.limits);
    let run = Arc::new(Run {
        next: AtomicU64::new(0),
        errors: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        pacer: schedule.map(|schedule| Pacer::new(schedule, start)),
        start,
        timeline: Arc::clone(timeline),
        progress: Arc::clone(progress),
        pids: pids.clone(),
        plan,
    });
    // As many as are on the way may be late at the end without the rate being too high.
    let spare = connections.len() as u64;
    let pacing = run.pacer.clone().map(|pacer| {
        let run = Arc::clone(&run);
        tokio::task::spawn_blocking(move || pacer.run(limits, spare, || run.is_stopped()))
    });
    let mut tasks = JoinSet::new();
    for (index, connection) in connections.into_iter().enumerate() {
        let (run, pool) = (Arc::clone(&run), pool.clone());
        let asking = async move { (index, run.ask_over(connection, &pool).await) };
        tasks.spawn_on(asking, shards.of(index));
    }
    let mut done = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        let (index, asked) = joined.expect("a worker neither panics nor is aborted");
        done.push((index, asked));
    }
    let elapsed = start.elapsed();
    run.is_over.store(true, Relaxed);
    let offered = match pacing {
        Some(pacing) => {
            let (due, lag) = pacing.await.expect("the pacing thread does not panic");
            let sent = run.pacer.as_ref().map_or(0, |pacer| pacer.taken());
            Some(Offered { due, sent, lag })
        }
        None => None,
    };
    done.sort_by_key(|(index, _)| *index);
    let (mut total, mut tallies, mut connections) = (RunStats::default(), Vec::new(), Vec::new());
    let mut ended_by = None;
    for (_, AskedOver { tally, outcome }) in done {
        total.add(&tally);
        tallies.push(tally);
        match outcome {
            Ok(connection) => connections.push(connection),
            Err(error) => ended_by = ended_by.or(Some(error)),
        }
    }
    if let Some(error) = ended_by.take_if(|_| total.answered == 0) {
        return Err(error);
    }
    let timeline = Arc::clone(timeline);
    Ok((RunResult { total, connections: tallies, elapsed, timeline, offered, ended_by }, connections))
}

/// What one connection came to.
struct AskedOver {
    tally: RunStats,
    outcome: Result<Connection>,
}

/// What one connection is at.
struct Worker {
    tally: RunStats,
    now: CurrentSecond,
    /// Queries that were skipped, or are tried again; the oldest first, so that none is left to the end.
    retry_queue: VecDeque<Query>,
    /// What came last.
    arrival: Arrival,
    /// Whether the next answer had to be waited for; if not it came with the last one.
    has_waited: bool,
}

/// What there is to send.
enum NextQuery {
    Query(Query),
    /// None is due.
    Later,
    /// There will be none.
    End,
}

impl Run {
    /// Whether nothing more is to be sent.
    fn is_stopped(&self) -> bool {
        self.is_over.load(Relaxed) || self.progress.is_cancelled()
    }

    /// Whether the time is up.
    fn is_past_end(&self) -> bool {
        self.is_stopped()
            || self.plan.limits.duration.is_some_and(|duration| self.start.elapsed() >= duration)
    }

    /// Whether there are no new queries to send.
    fn has_none_left(&self) -> bool {
        let Limits { queries, .. } = self.plan.limits;
        match &self.pacer {
            Some(pacer) => pacer.is_over(),
            None => self.is_past_end() || queries.is_some_and(|queries| self.next.load(Relaxed) >= queries),
        }
    }

    async fn ask_over(&self, mut connection: Connection, pool: &SessionPool) -> AskedOver {
        let mut worker = Worker {
            tally: RunStats::default(),
            now: CurrentSecond::default(),
            retry_queue: VecDeque::new(),
            arrival: Arrival::new(self.start),
            has_waited: true,
        };
        let sender = &*self.plan.sender;
        let outcome = loop {
            let end = if sender.is_plain() {
                self.ask_until(&mut worker, |query| sender.ask_plainly(&connection, query)).await
            } else {
                self.ask_until(&mut worker, |query| sender.ask(&connection, query)).await
            };
            match end {
                End::Over => break Ok(connection),
                End::Fatal(error) => break Err(self.explain(&error)),
                // What is lost with the last query need not be replaced.
                End::Lost if self.is_stopped() || (worker.retry_queue.is_empty() && self.has_none_left()) => {
                    break Ok(connection);
                }
                End::Lost => match self.replace(connection, pool).await {
                    Ok(new) => {
                        connection = new;
                        worker.tally.reconnections += 1;
                    }
                    Err(error) => break Err(error),
                },
            }
        };
        if outcome.is_err() {
            self.is_over.store(true, Relaxed);
        }
        worker.arrival.settle(&mut worker.tally.split);
        worker.now.hand_over(&self.timeline);
        AskedOver { tally: worker.tally, outcome }
    }

    /// Send queries, and take their answers, until there are none left to send.
    async fn ask_until<F: Future<Output = Completion>>(
        &self,
        worker: &mut Worker,
        ask: impl Fn(Query) -> F,
    ) -> End {
        let mut window = Pipeline::new(self.plan.depth);
        let mut end = None;
        let mut given_up = pin!(given_up(&self.progress));
        loop {
            let is_over = |end: &Option<End>, worker: &Worker| match end {
                None => false,
                Some(End::Over) => worker.retry_queue.is_empty() || self.is_stopped(),
                Some(_) => true,
            };
            while !is_over(&end, worker) && !window.is_full() {
                match self.next(worker, window.is_empty()).await {
                    NextQuery::Query(query) => window.push_with(|| ask(query), 0).await,
                    NextQuery::Later => break,
                    NextQuery::End => end = Some(End::Over),
                }
            }
            // Once a run is over or its window full only answers are waited for.
            let pacer = self.pacer.as_ref().filter(|_| end.is_none() && !window.is_full());
            let asked = tokio::select! {
                biased;
                asked = noting_waits(window.pop(), &mut worker.has_waited) => asked,
                due = async { pacer.expect("this branch has one").next().await }, if pacer.is_some() => {
                    match due {
                        Some((index, due)) => {
                            let query = self.query(index, due, Instant::now());
                            window.push_with(|| ask(query), 0).await;
                        }
                        None => end = Some(End::Over),
                    }
                    continue;
                }
                // The server does not say anything any more, and somebody waits for the report.
                () = &mut given_up => return End::Lost,
            };
            let Some(asked) = asked else { break };
            match self.take(asked, worker) {
                // The first is what it is about; those behind it fail because it did.
                Some(new) if end.is_none() || matches!(end, Some(End::Over)) => end = Some(new),
                _ => {}
            }
        }
        end.unwrap_or(End::Over)
    }

    /// The next query; waits for it to be due if that `may_wait`.
    async fn next(&self, worker: &mut Worker, may_wait: bool) -> NextQuery {
        if let Some(query) = worker.retry_queue.pop_front() {
            return NextQuery::Query(Query { tried: Instant::now(), ..query });
        }
        let Some(pacer) = &self.pacer else { return self.next_at_once() };
        let due = if may_wait { pacer.next().await } else { pacer.try_next() };
        match due {
            Some((index, due)) if !self.is_stopped() => {
                NextQuery::Query(self.query(index, due, Instant::now()))
            }
            None if !may_wait && !pacer.is_over() => NextQuery::Later,
            _ => NextQuery::End,
        }
    }

    /// The next query of a closed loop.
    fn next_at_once(&self) -> NextQuery {
        let index = self.next.fetch_add(1, Relaxed);
        let Limits { queries, duration } = self.plan.limits;
        if queries.is_some_and(|queries| index >= queries) || self.is_stopped() {
            return NextQuery::End;
        }
        let now = Instant::now();
        if duration.is_some_and(|duration| now - self.start >= duration) {
            return NextQuery::End;
        }
        NextQuery::Query(self.query(index, now, now))
    }

    fn query(&self, index: u64, due: Instant, sent: Instant) -> Query {
        let (workload, time) = self.plan.sender.mix.at(self.plan.first.wrapping_add(index));
        Query { workload, time, due, sent, tried: sent, retries: 0, earlier_tries: Duration::ZERO }
    }

    /// Count an answer. What it says about those to come, if anything.
    fn take(&self, asked: Completion, worker: &mut Worker) -> Option<End> {
        let Completion { query, done, mut statements, answer } = asked;
        let Worker { tally, now, retry_queue, arrival, has_waited } = worker;
        let was_skipped = self.plan.batches && answer.as_ref().is_err_and(is_skipped);
        // Since then the server can have been at it; it never was at one that it skipped.
        let begun = if was_skipped {
            done
        } else {
            // With a Sync each they come one by one, even if several are read at once.
            let came_alone = std::mem::take(has_waited) || !self.plan.batches;
            arrival.note(query.tried, done, came_alone, &mut tally.split)
        };
        let workloads = &self.plan.sender.mix.workloads;
        // Of a single statement there is nothing to tell that the total does not.
        let is_apart = workloads.len() > 1 || workloads[0].begin.is_some();
        match answer {
            Ok(answer) => {
                tally.answered += 1;
                let at = done - self.start;
                if self.plan.takes_times {
                    let response = done - query.due;
                    tally.response.record(response);
                    tally.batches.record(at, response);
                    if self.pacer.is_some() {
                        tally.service.record(done - query.sent);
                        tally.late.record(query.sent - query.due);
                    }
                    if self.plan.depth > 1 || self.pacer.is_some() {
                        arrival.answered(response, query.earlier_tries);
                    }
                    now.record(at, Some(response), &self.timeline);
                } else {
                    now.count(at, &self.timeline);
                }
                if let Some(begin) = statements.first_mut() {
                    // It was sent behind others, which is waiting.
                    *begin = begin.saturating_sub(begun - query.tried);
                }
                if is_apart || self.plan.keeps_slowest {
                    tally.workloads.resize_with(workloads.len(), WorkloadStats::default);
                    self.take_apart(query, begun, done, &statements, &mut tally.workloads[query.workload]);
                }
                self.compare(query, answer, tally);
                None
            }
            // It never ran, and reads only: it is asked again, and neither counts as refused nor is lost.
            Err(_) if was_skipped => {
                if !self.is_stopped() {
                    retry_queue.push_back(query);
                }
                None
            }
            Err(error)
                if query.retries < self.plan.retries
                    && is_worth_another_try(&error)
                    && !self.is_past_end() =>
            {
                tally.retries += 1;
                let earlier_tries = query.earlier_tries + (done - begun);
                retry_queue.push_back(Query { retries: query.retries + 1, earlier_tries, ..query });
                None
            }
            // It was cancelled with the run.
            Err(_) if self.progress.is_cancelled() => Some(End::Over),
            Err(error) if self.is_read_only(&error) => Some(End::Fatal(error)),
            Err(error) => {
                tally.refused(&format!("run query {}", workloads[query.workload].name), &error);
                now.record(done - self.start, None, &self.timeline);
                if is_apart {
                    tally.workloads.resize_with(workloads.len(), WorkloadStats::default);
                    tally.workloads[query.workload].errors += 1;
                }
                if self.errors.fetch_add(1, Relaxed) >= self.plan.max_errors {
                    self.is_over.store(true, Relaxed);
                    return Some(End::Over);
                }
                is_lost(&error).then_some(End::Lost)
            }
        }
    }

    fn take_apart(
        &self,
        query: Query,
        begun: Instant,
        done: Instant,
        statements: &[Duration],
        tally: &mut WorkloadStats,
    ) {
        tally.answered += 1;
        if !self.plan.takes_times {
            return;
        }
        let response = done - query.due;
        tally.response.record(response);
        tally.batches.record(done - self.start, response);
        tally.statements.resize_with(statements.len(), Latencies::default);
        for (latencies, took) in tally.statements.iter_mut().zip(statements) {
            latencies.record(*took);
        }
        tally.slowest = tally.slowest.max(Some((query.earlier_tries + (done - begun), query.time)));
    }

    fn compare(&self, query: Query, answer: ResultDigest, tally: &mut RunStats) {
        let Some(expected) = &self.plan.expected else { return };
        let mix = &self.plan.sender.mix;
        let difference = match expected {
            Expected::Answers(answers) => {
                match answers.get(&(query.workload, mix.key(query.workload, query.time))) {
                    // It writes, so there is nothing to compare with.
                    None => return,
                    Some(None) => Some("answered, where it was refused before".to_owned()),
                    Some(Some(expected)) if expected.is_same(&answer) => None,
                    Some(Some(expected)) if expected.rows != answer.rows => {
                        Some(format!("{} rows, not {}", answer.rows, expected.rows))
                    }
                    Some(Some(_)) => Some("other values".to_owned()),
                }
            }
            Expected::Given { rows: Some(rows), .. } if *rows != answer.rows => {
                Some(format!("{} rows, not {rows}", answer.rows))
            }
            Expected::Given { value: Some((value, shown)), .. } if *value != answer.first => {
                Some(format!("the first value is not {shown}"))
            }
            Expected::Given { .. } => None,
        };
        tally.compared += 1;
        if let Some(difference) = difference {
            tally.differences.0 += 1;
            let first = || format!("{}: {difference}", mix.describe(query.workload, query.time));
            tally.differences.1.get_or_insert_with(first);
        }
    }

    /// Whether the statement writes, and may not because it shares its Sync.
    fn is_read_only(&self, error: &PgError) -> bool {
        self.plan.batches && error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
    }

    fn explain(&self, error: &PgError) -> Error {
        let names: Vec<&str> =
            self.plan.sender.mix.workloads.iter().map(|workload| workload.name.as_str()).collect();
        Error::database(&format!("run query {}", names.join(", ")), error).with_help(
            "queries that share a Sync run read-only; --sync-every 1 gives each its own, and lets it write",
        )
    }

    /// A connection in the place of one that is lost.
    async fn replace(&self, lost: Connection, pool: &SessionPool) -> Result<Connection> {
        let pid = lost.pid;
        lost.close();
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(20);
        loop {
            match connect(pool, &self.plan.sender).await {
                Ok(connection) => {
                    self.pids.replace(pid, connection.pid);
                    return Ok(connection);
                }
                Err(error) if self.is_stopped() || Instant::now() >= until => {
                    return Err(Error::new(error.kind(), format!("a connection was lost: {error}"))
                        .with_help("the server went away during the run; its log says why"));
                }
                // A server that starts again tells nobody when it is ready.
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}

/// Ready when somebody has interrupted the run, and the server has had its time for a last word.
pub(crate) async fn given_up(progress: &Progress) {
    progress.cancelled().await;
    tokio::time::sleep(LAST_ANSWERS).await;
}

/// Await `answer`, and note if it was not there yet.
async fn noting_waits<A>(answer: impl Future<Output = A>, has_waited: &mut bool) -> A {
    let mut answer = pin!(answer);
    poll_fn(|cx| {
        let polled = answer.as_mut().poll(cx);
        *has_waited |= polled.is_pending();
        polled
    })
    .await
}

/// A connection on which everything is prepared, driven by the runtime that this is called on.
///
/// # Errors
/// When there is none, or a statement does not prepare.
pub(crate) async fn connect(pool: &SessionPool, sender: &QuerySender) -> Result<Connection> {
    let client = pool.get().await?;
    let mut prepared = Vec::new();
    for workload in &sender.mix.workloads {
        prepared.push(workload.prepare(&client).await?);
    }
    let pid = client
        .query_one("SELECT pg_catalog.pg_backend_pid()", &[])
        .await
        .map_err(|error| Error::database("ask for the server's process", &error))?
        .get(0);
    Ok(Connection { client, prepared, pid })
}

/// Whether the connection is gone with the query, because it broke, the server shuts down, or somebody ended the
/// session.
pub(crate) fn is_lost(error: &PgError) -> bool {
    error.is_closed() || error.code().is_some_and(|code| code.code().starts_with("57P"))
}
