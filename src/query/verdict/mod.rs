//! What bounded a run: what the server's processes waited for, and who used the processors.

pub(crate) mod cpu;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::oneshot;
use tokio_postgres::{Client, Statement};

use crate::Error;
use crate::query::verdict::cpu::{Processors, machine_cores, process_seconds};

/// What was seen while a run went on, and what follows from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// What bounded the run, in one word: `client`, `server`, `others`, `lock`, `lwlock`, `io`, `wal`,
    /// `roundtrip`, `rate`, `unknown`.
    pub by: &'static str,
    /// In one sentence.
    pub sentence: String,
    /// What it follows from.
    #[serde(flatten)]
    pub seen: ServerActivity,
    /// What the server's `pg_stat_statements` counted meanwhile, the longest first; null where it is not installed.
    pub statements: Option<Vec<ServerStatement>>,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct ServerActivity {
    /// The run's connections.
    pub backends: usize,
    /// How often they were looked at.
    pub looks: u64,
    /// Backends that ran, on average.
    pub running: f64,
    /// Backends that had nothing to do until the client sent something, on average.
    pub waiting_for_client: f64,
    /// Backends that waited for something else, on average, by its `wait_event_type:wait_event`; the most first.
    pub waiting: Vec<(String, f64)>,
    /// Cores that this program used, on average.
    pub client_cores: f64,
    /// Cores that the run's backends used, on average; null where they are not seen from here. Where parallel workers
    /// helped them, whatever the client did not use: not every worker lives until it is looked at.
    pub server_cores: Option<f64>,
    /// Whether parallel workers helped the run's backends.
    #[serde(skip)]
    pub has_parallel_workers: bool,
    /// Cores of this machine that were busy, on average; null where it does not tell.
    pub busy_cores: Option<f64>,
    /// Cores of this machine.
    pub cores: usize,
    /// Cores that this program may use.
    #[serde(skip)]
    pub client_limit: usize,
    /// Whether the rate was given, and kept.
    pub rate_was_kept: bool,
}

/// What `pg_stat_statements` has of one statement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerStatement {
    /// Its text, as the server keeps it.
    pub query: String,
    /// How often it was run.
    pub calls: i64,
    /// What the server took for it each time, in microseconds, planning not counted.
    pub mean_us: f64,
    /// Rows that it returned or changed each time.
    pub rows: f64,
}

/// Which of some backends run, wait for the client, or for something else, and the processes of their parallel
/// workers. Of a backend and its workers counts what most of them do, except to wait for one another.
fn look(leader_pid: &str) -> String {
    format!(
        "WITH processes AS (
             SELECT pid, coalesce({leader_pid}, pid) AS backend, state, wait_event_type, wait_event
             FROM pg_catalog.pg_stat_activity WHERE coalesce({leader_pid}, pid) = ANY ($1)
         ), states AS (
             SELECT pid, backend,
                    -- A worker has no state until it has begun.
                    CASE WHEN wait_event_type = 'Client' OR pid = backend AND state IS DISTINCT FROM 'active'
                         THEN 'client'
                         WHEN wait_event IS NULL THEN 'running'
                         ELSE wait_event_type || ':' || wait_event END COLLATE \"C\" AS state
             FROM processes
         ), backends AS (
             SELECT coalesce(
                        -- Of two that are as frequent the last, as running is.
                        mode() WITHIN GROUP (ORDER BY state DESC)
                            FILTER (WHERE state <> 'client' AND state NOT LIKE 'IPC:%'),
                        min(state) FILTER (WHERE pid = backend),
                        'running') AS state,
                    array_agg(pid) FILTER (WHERE pid <> backend) AS workers
             FROM states GROUP BY backend
         )
         SELECT state, count(*), workers FROM backends GROUP BY state, workers"
    )
}

/// In less time the system has hardly counted what the processors did.
const LEAST_SECONDS: f64 = 0.2;

/// Less than so many looks tell nothing.
const FEWEST_LOOKS: u64 = 3;

/// How often the server is looked at.
const EVERY: Duration = Duration::from_millis(100);

/// Looks at the server until it is told to stop.
#[derive(Debug)]
pub(super) struct ActivitySampler {
    stop: oneshot::Sender<()>,
    watching: tokio::task::JoinHandle<(ServerActivity, Option<Vec<ServerStatement>>)>,
}

/// The server's processes that a run asks; those of connections that are replaced change.
#[derive(Debug, Clone, Default)]
pub(super) struct Pids(Arc<Mutex<Vec<i32>>>);

impl Pids {
    /// These, to begin with.
    pub(super) fn new(pids: Vec<i32>) -> Pids {
        Pids(Arc::new(Mutex::new(pids)))
    }

    /// `new` in the place of `old`.
    pub(super) fn replace(&self, old: i32, new: i32) {
        let mut pids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pids.retain(|pid| *pid != old);
        pids.push(new);
    }

    fn get(&self) -> Vec<i32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ActivitySampler {
    /// Begin to look at the backends `pids` over `client`, a connection of its own.
    pub(super) async fn start(client: Client, pids: Pids, is_local: bool) -> ActivitySampler {
        let counted = soon(counted(&client)).await.flatten();
        let before = statements(&client, counted.as_deref()).await;
        // The first look costs the server as much as many later ones: it has to learn what the view is.
        let look = match soon(client.prepare(&look("leader_pid"))).await {
            // Before version 13 nobody tells whose workers they are.
            Some(Err(_)) => soon(client.prepare(&look("NULL::int"))).await.and_then(Result::ok),
            look => look.and_then(Result::ok),
        };
        if let Some(look) = &look {
            soon(client.query(look, &[&pids.get()])).await;
        }
        let (stop, stopped) = oneshot::channel();
        let watching = tokio::spawn(async move {
            let seen = watch(&client, look, &pids, is_local, stopped).await;
            let after = statements(&client, counted.as_deref()).await;
            (seen, before.zip(after).map(|(before, after)| difference(&before, after)))
        });
        ActivitySampler { stop, watching }
    }

    /// Stop, and say what was seen; `rate_was_kept` if the rate was given and all was sent in time.
    pub(super) async fn finish(self, rate_was_kept: bool) -> Verdict {
        let _ = self.stop.send(());
        let (seen, statements) = self.watching.await.expect("the observer does not panic");
        let seen = ServerActivity { rate_was_kept, ..seen };
        let (by, sentence) = seen.verdict();
        Verdict { by, sentence, seen, statements }
    }
}

impl Verdict {
    /// There was no connection to look at the server over, because of `error`.
    pub fn nothing(error: &Error) -> Verdict {
        Verdict {
            by: "unknown",
            sentence: format!("unknown: the server could not be looked at: {error}"),
            seen: ServerActivity::default(),
            statements: None,
        }
    }
}

/// What `asking` finds out, unless the server is stuck.
async fn soon<T>(asking: impl Future<Output = T>) -> Option<T> {
    const PATIENCE: Duration = Duration::from_secs(2);
    tokio::time::timeout(PATIENCE, asking).await.ok()
}

async fn watch(
    client: &Client,
    look: Option<Statement>,
    pids: &Pids,
    is_local: bool,
    mut stopped: oneshot::Receiver<()>,
) -> ServerActivity {
    let client_limit = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let began = Instant::now();
    let backends = pids.get().len();
    let before = Processors::now(&pids.get(), is_local);
    let mut states: BTreeMap<String, u64> = BTreeMap::new();
    let (mut workers, mut has_parallel_workers) = (BTreeMap::new(), false);
    let (mut looks, mut is_stopped) = (0, false);
    if let Some(look) = look {
        loop {
            // Not at once: nothing has been sent yet.
            tokio::select! {
                _ = &mut stopped => is_stopped = true,
                () = tokio::time::sleep(EVERY) => {}
            }
            if is_stopped {
                break;
            }
            let Some(Ok(rows)) = soon(client.query(&look, &[&pids.get()])).await else { break };
            looks += 1;
            for row in rows {
                *states.entry(row.get(0)).or_default() += row.get::<_, i64>(1) as u64;
                for pid in row.get::<_, Option<Vec<i32>>>(2).into_iter().flatten() {
                    has_parallel_workers = true;
                    if let Some(seconds) = process_seconds(pid).filter(|_| is_local) {
                        let most: &mut f64 = workers.entry(pid).or_default();
                        *most = most.max(seconds);
                    }
                }
            }
        }
    }
    if !is_stopped {
        // The processors are of interest to the end.
        let _ = stopped.await;
    }
    let after = Processors::now(&pids.get(), is_local);
    let seconds = began.elapsed().as_secs_f64();
    let mean = |count: u64| count as f64 / looks.max(1) as f64;
    let mut waiting: Vec<(String, f64)> = Vec::new();
    let (mut running, mut waiting_for_client) = (0.0, 0.0);
    for (state, count) in states {
        match state.as_str() {
            "running" => running = mean(count),
            "client" => waiting_for_client = mean(count),
            _ => waiting.push((state, mean(count))),
        }
    }
    waiting.sort_by(|a, b| b.1.total_cmp(&a.1));
    ServerActivity {
        backends,
        looks,
        running,
        waiting_for_client,
        waiting,
        client_cores: (after.client - before.client) / seconds,
        server_cores: before.server.zip(after.server).map(|(before, after)| {
            // Of processes that came since, all of it.
            let used = |(pid, seconds): (&i32, &f64)| seconds - before.get(pid).unwrap_or(&0.0);
            (after.iter().map(used).sum::<f64>().max(0.0) + workers.values().sum::<f64>()) / seconds
        }),
        has_parallel_workers,
        busy_cores: before
            .machine
            .zip(after.machine)
            .filter(|_| seconds >= LEAST_SECONDS)
            .map(|(before, after)| (after - before).max(0.0) / seconds),
        cores: machine_cores().unwrap_or(client_limit),
        client_limit,
        rate_was_kept: false,
    }
    .attributed()
}

impl ServerActivity {
    /// With what parallel workers may have used counted as the server's: they come and go between two looks, and
    /// cannot be told from other programs then.
    fn attributed(self) -> ServerActivity {
        let rest = self.busy_cores.filter(|_| self.has_parallel_workers).map(|busy| busy - self.client_cores);
        let server_cores = self.server_cores.map(|server| rest.map_or(server, |rest| server.max(rest)));
        ServerActivity { server_cores, ..self }
    }

    /// Who used how much of what.
    fn usage(&self) -> String {
        let ServerActivity { client_cores, client_limit, cores, .. } = self;
        let with = match (self.has_parallel_workers, self.busy_cores) {
            (false, _) => "",
            (true, Some(_)) => " with parallel workers at most",
            (true, None) => " with parallel workers at least",
        };
        let server = self.server_cores.map(|server| format!(" and the server{with} {server:.2}"));
        if client_limit >= cores {
            return format!(
                "the client used {client_cores:.2}{} of {cores} cores",
                server.unwrap_or_default()
            );
        }
        let limit = if *client_limit == 1 { "1 core".to_owned() } else { format!("{client_limit} cores") };
        let server = server.map(|server| format!("{server} of {cores} cores")).unwrap_or_default();
        format!("the client used {client_cores:.2} of the {limit} that it may use{server}")
    }

    /// What bounded the run: a word, and a sentence.
    fn verdict(&self) -> (&'static str, String) {
        let ServerActivity { backends, running, waiting_for_client, client_cores, cores, .. } = self;
        let backends = *backends as f64;
        let client = self.usage();
        if self.looks < FEWEST_LOOKS {
            return ("unknown", format!("unknown: the run was too short to look at the server; {client}"));
        }
        let all = *cores as f64;
        let is_full = self.busy_cores.is_some_and(|busy| busy >= 0.9 * all);
        // The server's other processes, such as those that write the log, are among the others.
        let others = match (self.busy_cores, self.server_cores) {
            (Some(busy), Some(server)) => busy - client_cores - server,
            _ => 0.0,
        };
        if is_full && others >= 0.4 * all {
            return (
                "others",
                format!(
                    "OTHER PROGRAMS: they used {others:.2} of {cores} cores, and none was left; {client}; leave the machine to the run"
                ),
            );
        }
        let waited: f64 = self.waiting.iter().map(|(_, mean)| mean).sum();
        if self.rate_was_kept {
            return (
                "rate",
                format!(
                    "the rate that was asked for: {waiting_for_client:.1} of {backends} backends had nothing to do; {client}"
                ),
            );
        }
        if let Some((event, _)) = self.waiting.first()
            && waited >= 0.25 * backends
            && waited >= *running
        {
            let (by, what) = kind_of(event);
            return (
                by,
                format!(
                    "{what}: {waited:.1} of {backends} backends waited, most of them for {event}; {client}"
                ),
            );
        }
        // It may be allowed less than the machine has.
        let limit = all.min(self.client_limit as f64);
        if *client_cores >= 0.85 * limit
            || (is_full && self.server_cores.is_some_and(|server| *client_cores > server))
        {
            let instead = if limit < all {
                "let it use more cores, or measure from another machine"
            } else {
                "measure from a larger machine, or from another one"
            };
            return ("client", format!("THE CLIENT, NOT THE SERVER: {client}; {instead}"));
        }
        let server_is_full = self.server_cores.is_some_and(|server| server >= 0.4 * all);
        if (is_full && server_is_full) || *running >= 0.7 * backends {
            let none = if waited < 0.05 * backends { "none waited" } else { "some waited" };
            return (
                "server",
                format!("server CPU: {running:.1} of {backends} backends ran, {none}; {client}"),
            );
        }
        if *waiting_for_client >= 0.5 * backends {
            return (
                "roundtrip",
                format!(
                    "round trips: {waiting_for_client:.1} of {backends} backends waited for the next query, which more connections or a deeper pipeline would send; {client}"
                ),
            );
        }
        (
            "unknown",
            format!(
                "nothing by itself: of {backends} backends {running:.1} ran, {waited:.1} waited, {waiting_for_client:.1} had nothing to do; {client}"
            ),
        )
    }
}

/// What a wait event is about.
fn kind_of(event: &str) -> (&'static str, &'static str) {
    match event.split_once(':') {
        Some(("Lock", _)) => ("lock", "locks"),
        // PostgreSQL 17 made IO:WalSync of IO:WALSync, and left LWLock:WALWrite as it was.
        Some((_, name)) if name.starts_with("WAL") || name.starts_with("Wal") || name == "SyncRep" => {
            ("wal", "the write-ahead log")
        }
        Some(("LWLock", _)) => ("lwlock", "contention inside the server"),
        Some(("IO", _)) => ("io", "the server's disk"),
        _ => ("unknown", "waiting"),
    }
}

/// Calls, milliseconds and rows of each statement, by its identity.
type Statements = BTreeMap<(i64, u32), (String, i64, f64, i64)>;

/// What asks for what the server counted of each statement; none where it does not count.
async fn counted(client: &Client) -> Option<String> {
    let sql = "SELECT pg_catalog.quote_ident(nspname) AS pg_stat_schema FROM pg_catalog.pg_extension AS e
               JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace WHERE extname = 'pg_stat_statements'";
    let schema: String = client.query_opt(sql, &[]).await.ok()??.get(0);
    // What a function runs is counted apart from what is run by itself.
    Some(format!(
        "SELECT queryid, userid, min(query), sum(calls)::bigint, sum(total_exec_time), sum(rows)::bigint
         FROM {schema}.pg_stat_statements
         WHERE dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
           AND queryid IS NOT NULL AND query NOT LIKE '%pg_stat_%' AND query NOT LIKE '%pg_backend_pid()%'
           AND query NOT LIKE 'SET default_transaction_read_only%'
         GROUP BY queryid, userid"
    ))
}

async fn statements(client: &Client, counted: Option<&str>) -> Option<Statements> {
    // Where it may not be read, there is nothing to tell.
    let rows = soon(client.query(counted?, &[])).await?.ok()?;
    let read = |row: &tokio_postgres::Row| {
        ((row.get(0), row.get(1)), (row.get(2), row.get(3), row.get(4), row.get(5)))
    };
    Some(rows.iter().map(read).collect())
}

fn difference(before: &Statements, after: Statements) -> Vec<ServerStatement> {
    /// More would not be read.
    const MOST: usize = 10;
    let mut found = Vec::new();
    for (key, (query, calls, ms, rows)) in after {
        let (earlier_calls, earlier_ms, earlier_rows) =
            before.get(&key).map_or((0, 0.0, 0), |(_, calls, ms, rows)| (*calls, *ms, *rows));
        let calls = calls - earlier_calls;
        if calls > 0 {
            let mean_us = (ms - earlier_ms) * 1e3 / calls as f64;
            found.push(ServerStatement {
                query,
                calls,
                mean_us,
                rows: (rows - earlier_rows) as f64 / calls as f64,
            });
        }
    }
    found.sort_by(|a, b| (b.mean_us * b.calls as f64).total_cmp(&(a.mean_us * a.calls as f64)));
    found.truncate(MOST);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> ServerActivity {
        ServerActivity {
            backends: 16,
            looks: 100,
            cores: 2,
            client_limit: 2,
            busy_cores: Some(1.0),
            server_cores: Some(0.5),
            ..ServerActivity::default()
        }
    }

    #[track_caller]
    fn check(seen: &ServerActivity, by: &str, start: &str) {
        let (found, sentence) = seen.verdict();
        assert!(found == by && sentence.starts_with(start), "{found}: {sentence}");
    }

    #[test]
    fn the_verdict_follows_from_the_numbers() {
        let server = ServerActivity {
            running: 16.0,
            busy_cores: Some(1.99),
            server_cores: Some(1.9),
            client_cores: 0.04,
            ..seen()
        };
        check(
            &server,
            "server",
            "server CPU: 16.0 of 16 backends ran, none waited; the client used 0.04 and the server 1.90 of 2 cores",
        );
        let remote = ServerActivity { running: 15.0, server_cores: None, client_cores: 0.1, ..seen() };
        check(&remote, "server", "server CPU: 15.0 of 16 backends ran");
        let client = ServerActivity {
            running: 3.0,
            waiting_for_client: 13.0,
            client_cores: 1.2,
            busy_cores: Some(2.0),
            ..seen()
        };
        check(&client, "client", "THE CLIENT, NOT THE SERVER: the client used 1.20");
        let locks =
            ServerActivity { running: 1.0, waiting: vec![("Lock:transactionid".into(), 14.0)], ..seen() };
        check(&locks, "lock", "locks: 14.0 of 16 backends waited, most of them for Lock:transactionid");
        let wal = ServerActivity {
            waiting: vec![("LWLock:WALWrite".into(), 9.0), ("IO:WALSync".into(), 1.0)],
            ..seen()
        };
        check(&wal, "wal", "the write-ahead log: 10.0 of 16");
        let renamed = ServerActivity { waiting: vec![("IO:WalSync".into(), 9.0)], ..seen() };
        check(&renamed, "wal", "the write-ahead log: 9.0 of 16");
        let idle = ServerActivity { waiting_for_client: 15.5, ..seen() };
        check(&idle, "roundtrip", "round trips: 15.5 of 16 backends waited for the next query");
        check(&ServerActivity { rate_was_kept: true, ..idle }, "rate", "the rate that was asked for: 15.5");
        check(
            &ServerActivity { looks: 2, ..seen() },
            "unknown",
            "unknown: the run was too short to look at the server",
        );
        let crowded =
            ServerActivity { busy_cores: Some(2.0), server_cores: Some(0.1), client_cores: 0.01, ..seen() };
        check(&crowded, "others", "OTHER PROGRAMS: they used 1.89 of 2 cores");
    }

    #[test]
    fn parallel_workers_are_the_servers() {
        let crowded = ServerActivity {
            backends: 1,
            running: 1.0,
            busy_cores: Some(2.0),
            server_cores: Some(0.75),
            client_cores: 0.01,
            ..seen()
        };
        check(&crowded.clone().attributed(), "others", "OTHER PROGRAMS: they used 1.24 of 2 cores");
        let parallel = ServerActivity { has_parallel_workers: true, ..crowded };
        let sentence = "server CPU: 1.0 of 1 backends ran, none waited; \
                        the client used 0.01 and the server with parallel workers at most 1.99 of 2 cores";
        check(&parallel.clone().attributed(), "server", sentence);
        // What is known to be its own is not taken from it.
        let more = ServerActivity { busy_cores: Some(0.5), ..parallel.clone() }.attributed();
        assert_eq!(more.server_cores, Some(0.75));
        // Another machine's processors are not these.
        let remote = ServerActivity { server_cores: None, ..parallel }.attributed();
        let sentence = "server CPU: 1.0 of 1 backends ran, none waited; the client used 0.01 of 2 cores";
        check(&remote, "server", sentence);
    }

    #[test]
    fn a_client_is_bound_by_what_it_may_use() {
        let limited = ServerActivity {
            waiting_for_client: 7.5,
            running: 8.5,
            busy_cores: Some(1.7),
            server_cores: Some(0.7),
            client_cores: 0.97,
            client_limit: 1,
            ..seen()
        };
        let sentence = "THE CLIENT, NOT THE SERVER: the client used 0.97 of the 1 core that it may use \
                        and the server 0.70 of 2 cores; let it use more cores, or measure from another machine";
        check(&limited, "client", sentence);
        let three = ServerActivity {
            client_limit: 3,
            cores: 8,
            client_cores: 2.6,
            server_cores: None,
            ..limited.clone()
        };
        let sentence = "THE CLIENT, NOT THE SERVER: the client used 2.60 of the 3 cores that it may use; let";
        check(&three, "client", sentence);
        // As much of all that there is, is little.
        let free = ServerActivity { client_limit: 2, ..limited };
        check(&free, "unknown", "nothing by itself");
        // However much it is allowed, there is no more than the machine has.
        let generous = ServerActivity { client_limit: 64, client_cores: 1.8, ..free };
        let sentence =
            "THE CLIENT, NOT THE SERVER: the client used 1.80 and the server 0.70 of 2 cores; measure";
        check(&generous, "client", sentence);
    }

    #[test]
    fn what_statements_did_meanwhile_is_a_difference() {
        let statement = |calls, ms| (("a".to_owned()), calls, ms, calls * 2);
        let before = Statements::from([((1, 10), statement(5, 50.0)), ((2, 10), statement(1, 1.0))]);
        let after = Statements::from([
            ((1, 10), statement(15, 70.0)),
            ((2, 10), statement(1, 1.0)),
            ((3, 10), statement(2, 100.0)),
        ]);
        let found: Vec<_> =
            difference(&before, after).into_iter().map(|s| (s.calls, s.mean_us, s.rows)).collect();
        assert_eq!(found, [(2, 50_000.0, 2.0), (10, 2000.0, 2.0)]);
    }
}
