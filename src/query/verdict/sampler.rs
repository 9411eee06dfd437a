//! Sampling what the server's processes do during a run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Row, Statement};

use crate::query::verdict::cpu::{CpuTimes, machine_cores, process_seconds};
use crate::query::verdict::replay::ReplayLag;
use crate::query::verdict::statements::{ServerStatement, counting_query, difference, statements};
use crate::query::verdict::timeout::soon;
use crate::query::verdict::{ServerActivity, Verdict};

/// In a shorter time the system has hardly counted what the CPUs did.
const LEAST_SECONDS: f64 = 0.2;

/// The time between two samples.
const INTERVAL: Duration = Duration::from_millis(100);

/// The lag of a standby is read with one of this many samples, and at the end.
const LAG_EVERY: u64 = 10;

/// The time between two samples of several nodes of Citus, which opens a connection to each for every question.
const INTERVAL_OF_NODES: Duration = Duration::from_millis(250);

/// Samples what the server does until it is finished.
#[derive(Debug)]
pub(crate) struct ActivitySampler {
    stop: oneshot::Sender<()>,
    watching: JoinHandle<(ServerActivity, Option<Vec<ServerStatement>>, ReplayLag)>,
}

/// The process IDs of the backends that a run uses; they change when connections are replaced.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pids(Arc<Mutex<Vec<i32>>>);

impl Pids {
    /// The process IDs at the start of the run.
    pub(crate) fn new(pids: Vec<i32>) -> Pids {
        Pids(Arc::new(Mutex::new(pids)))
    }

    /// Forget the backend `pid`, which has ended.
    pub(crate) fn remove(&self, pid: i32) {
        self.lock().retain(|other| *other != pid);
    }

    /// Add the backend `pid`.
    pub(crate) fn add(&self, pid: i32) {
        self.lock().push(pid);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of this moment.
    pub(crate) fn get(&self) -> Vec<i32> {
        self.lock().clone()
    }
}

impl ActivitySampler {
    /// Begin to sample the backends `pids` over `client`, a connection outside the run. CPU times are read too if the
    /// server `is_local`, and how far it has replayed the log of its primary if it `may_be_standby`.
    pub(crate) async fn start(
        client: Client,
        pids: Pids,
        is_local: bool,
        may_be_standby: bool,
    ) -> ActivitySampler {
        let counting_query = soon(counting_query(&client)).await.flatten();
        let before = statements(&client, counting_query.as_deref()).await;
        // The first execution costs the server as much as many later ones, because it has to read the view's
        // definition.
        let helpers = if has_nodes(&client).await { NODES } else { "parallel workers" };
        let sampling_query = |leader_pid| sampling_query(leader_pid, helpers == NODES);
        let query = match soon(client.prepare(&sampling_query("leader_pid"))).await {
            // Before version 13, pg_stat_activity does not have a worker's leader.
            Some(Err(_)) => soon(client.prepare(&sampling_query("NULL::int"))).await.and_then(Result::ok),
            prepared => prepared.and_then(Result::ok),
        };
        if let Some(query) = &query {
            soon(client.query(query, &[&pids.get()])).await;
        }
        let (stop, stopped) = oneshot::channel();
        let watching = tokio::spawn(async move {
            let mut lag = may_be_standby.then(ReplayLag::default);
            let backends = (&pids, helpers);
            let activity = watch((&client, query), backends, is_local, lag.as_mut(), stopped).await;
            let after = statements(&client, counting_query.as_deref()).await;
            let statements = before.zip(after).map(|(before, after)| difference(&before, after));
            (activity, statements, lag.unwrap_or_default())
        });
        ActivitySampler { stop, watching }
    }

    /// Stop sampling and judge what bounded the run. `rate_was_kept` in an open loop that kept up with its rate.
    pub(crate) async fn finish(self, rate_was_kept: bool) -> (Verdict, ReplayLag) {
        let _ = self.stop.send(());
        let (activity, statements, lag) = self.watching.await.expect("the sampler does not panic");
        (Verdict::new(ServerActivity { rate_was_kept, ..activity }, statements), lag)
    }
}

/// What a report calls the nodes of Citus.
const NODES: &str = "nodes of Citus";

/// Whether the database of `client` is on a node of Citus that passes queries on to others.
async fn has_nodes(client: &Client) -> bool {
    let has_citus = "SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_node') IS NOT NULL";
    let others = "SELECT count(*) > 1 FROM pg_catalog.pg_dist_node WHERE isactive";
    for question in [has_citus, others] {
        if !matches!(soon(client.query_one(question, &[])).await, Some(Ok(row)) if row.get(0)) {
            return false;
        }
    }
    true
}

/// What runs on other nodes of Citus for the backends `$1`. A global ID, which on another node is that of the backend here,
/// is the number of a node, and in ten digits the process ID. Processes of other machines have no process ID here.
const PROCESSES_OF_NODES: &str = "
    UNION ALL
    SELECT CASE WHEN nodename IN ('localhost', '127.0.0.1', '::1') THEN (process->>0)::int END, false,
           (process->>1)::int, process->>2, process->>3, process->>4
    FROM pg_catalog.run_command_on_workers($$
             SELECT coalesce(json_agg(json_build_array(
                        pid, substring(application_name, '=([0-9]+)')::int8 % 10000000000, state, wait_event_type,
                        wait_event)), '[]')
             FROM pg_catalog.pg_stat_activity
             WHERE application_name LIKE 'citus_internal gpid=%' AND datname = current_database()
                 AND substring(application_name, '=([0-9]+)')::int8 / 10000000000 = citus_backend_gpid() / 10000000000 $$),
         json_array_elements(CASE WHEN success THEN result ELSE '[]' END::json) process
    WHERE (process->>1)::int = ANY ($1)";

/// The query that counts the backends `$1` by what they do: run, wait for the client, or wait for something else; with
/// the process IDs of their workers, which are parallel workers and, if it `has_nodes`, what other nodes of Citus run for
/// them. A backend and its workers count as one, by what most of them do other than wait for each other.
fn sampling_query(leader_pid: &str, has_nodes: bool) -> String {
    let of_nodes = if has_nodes { PROCESSES_OF_NODES } else { "" };
    format!(
        "WITH processes (pid, is_leader, backend, state, wait_event_type, wait_event) AS (
             SELECT pid, pid = coalesce({leader_pid}, pid), coalesce({leader_pid}, pid), state, wait_event_type, wait_event
             FROM pg_catalog.pg_stat_activity WHERE coalesce({leader_pid}, pid) = ANY ($1) {of_nodes}
         ), states AS (
             SELECT pid, is_leader, backend,
                    -- A worker has no state until it has begun.
                    CASE WHEN wait_event_type = 'Client' OR is_leader AND state IS DISTINCT FROM 'active'
                         THEN 'client'
                         WHEN wait_event IS NULL THEN 'running'
                         ELSE wait_event_type || ':' || wait_event END COLLATE \"C\" AS state
             FROM processes
         ), backends AS (
             SELECT coalesce(
                        -- Of two that are equally frequent take the last, as running is.
                        mode() WITHIN GROUP (ORDER BY state DESC)
                            FILTER (WHERE state <> 'client' AND state NOT LIKE 'IPC:%'),
                        min(state) FILTER (WHERE is_leader),
                        'running') AS state,
                    array_agg(pid) FILTER (WHERE NOT is_leader AND pid IS NOT NULL) AS workers
             FROM states GROUP BY backend
         )
         SELECT state, count(*), workers FROM backends GROUP BY state, workers"
    )
}

/// The samples so far.
#[derive(Debug, Default)]
struct Samples {
    /// How many there are.
    count: u64,
    /// How many times backends were seen in each state.
    states: BTreeMap<String, u64>,
    /// The CPU seconds that each worker had used in the run when it was last seen.
    workers: BTreeMap<i32, f64>,
    /// What they had used before it: nothing, except for connections between nodes, which may be older.
    before: BTreeMap<i32, f64>,
    helpers: Option<&'static str>,
    /// Whether the server stopped answering.
    ended_early: bool,
}

impl Samples {
    fn add(&mut self, rows: Vec<Row>, is_local: bool, helpers: &'static str) {
        self.count += 1;
        for row in rows {
            *self.states.entry(row.get(0)).or_default() += row.get::<_, i64>(1) as u64;
            for pid in row.get::<_, Option<Vec<i32>>>(2).into_iter().flatten() {
                self.helpers = Some(helpers);
                if let Some(seconds) = process_seconds(pid).filter(|_| is_local) {
                    // A parallel worker lives for one query, a connection between nodes as long as the backend.
                    let before =
                        self.before.entry(pid).or_insert(if helpers == NODES { seconds } else { 0.0 });
                    let most = self.workers.entry(pid).or_default();
                    *most = most.max(seconds - *before);
                }
            }
        }
    }

    /// What was seen between `before` and `after`, which are `seconds` apart, over `backends` backends.
    fn activity(self, backends: usize, before: &CpuTimes, after: CpuTimes, seconds: f64) -> ServerActivity {
        let client_limit = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mean = |count: u64| count as f64 / self.count as f64;
        let mut waiting: Vec<(String, f64)> = Vec::new();
        let zero = (self.count > 0).then_some(0.0);
        let (mut running, mut waiting_for_client) = (zero, zero);
        for (state, count) in self.states {
            match state.as_str() {
                "running" => running = Some(mean(count)),
                "client" => waiting_for_client = Some(mean(count)),
                _ => waiting.push((state, mean(count))),
            }
        }
        waiting.sort_by(|a, b| b.1.total_cmp(&a.1));
        let is_complete = |before: &BTreeMap<i32, f64>, after: &BTreeMap<i32, f64>| {
            seconds >= LEAST_SECONDS && before.keys().all(|pid| after.contains_key(pid))
        };
        let processes = before.server.as_ref().zip(after.server);
        let server_cores =
            processes.filter(|(before, after)| is_complete(before, after)).map(|(before, after)| {
                // The whole time of processes that started since.
                let used = |(pid, seconds): (&i32, &f64)| seconds - before.get(pid).unwrap_or(&0.0);
                (after.iter().map(used).sum::<f64>().max(0.0) + self.workers.values().sum::<f64>()) / seconds
            });
        let busy = before.machine.zip(after.machine).filter(|_| seconds >= LEAST_SECONDS);
        ServerActivity {
            backends,
            samples: self.count,
            running,
            waiting_for_client,
            waiting,
            client_cores: Some((after.client - before.client) / seconds),
            server_cores,
            sibling_cores: 0.0,
            helpers: self.helpers,
            ended_early: self.ended_early,
            busy_cores: busy.map(|(before, after)| (after - before).max(0.0) / seconds),
            cores: machine_cores().unwrap_or(client_limit),
            client_limit,
            rate_was_kept: false,
        }
        .attributed()
    }
}

/// Sample the backends `pids` and their `helpers` with `query` until `stopped`.
async fn watch(
    (client, query): (&Client, Option<Statement>),
    (pids, helpers): (&Pids, &'static str),
    is_local: bool,
    mut lag: Option<&mut ReplayLag>,
    mut stopped: oneshot::Receiver<()>,
) -> ServerActivity {
    let began = Instant::now();
    let backends = pids.get().len();
    let before = CpuTimes::now(&pids.get(), is_local);
    let (mut samples, mut is_stopped) = (Samples::default(), false);
    let interval = if helpers == NODES { INTERVAL_OF_NODES } else { INTERVAL };
    if let Some(query) = query {
        loop {
            // Wait first: nothing has been sent yet.
            tokio::select! {
                _ = &mut stopped => is_stopped = true,
                () = tokio::time::sleep(interval) => {}
            }
            if is_stopped {
                break;
            }
            let Some(Ok(rows)) = soon(client.query(&query, &[&pids.get()])).await else {
                samples.ended_early = true;
                break;
            };
            samples.add(rows, is_local, helpers);
            if let Some(lag) = lag.as_deref_mut().filter(|_| samples.count % LAG_EVERY == 1) {
                lag.look(client).await;
            }
        }
    }
    if !is_stopped {
        // CPU times cover the whole run, even if the server cannot be sampled.
        let _ = stopped.await;
    }
    let after = CpuTimes::now(&pids.get(), is_local);
    if let Some(lag) = lag {
        lag.look(client).await;
    }
    samples.activity(backends, &before, after, began.elapsed().as_secs_f64())
}
