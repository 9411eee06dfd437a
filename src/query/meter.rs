//! The meter: opens the connections once, then measures one run or several.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use deadpool_postgres::Object;
use tokio_postgres::Client;

use crate::catalog::{Table, TableName};
use crate::error::ErrorKind;
use crate::postgres::options::check_pool;
use crate::postgres::server::{Database, ReadPools, SessionPool};
use crate::progress::Progress;
use crate::query::baseline::{SavedRun, SavedRuns};
use crate::query::comparison::{FEWEST_JUDGED, compare, other_statements};
use crate::query::drive::connection::Connection;
use crate::query::drive::expected::Expected;
use crate::query::drive::plan::{RunPlan, RunResult};
use crate::query::drive::schedule::{Limits, Schedule};
use crate::query::drive::sender::{Protocol, QuerySender};
use crate::query::drive::shards::Shards;
use crate::query::drive::worker;
use crate::query::explain::{SlowPlan, SlowestIteration, explain};
use crate::query::hosts::RunHosts;
use crate::query::measure::timeline::Timeline;
use crate::query::monitor::{RunInProgress, RunMonitor};
use crate::query::options::{MeterOptions, MeterSettings};
use crate::query::report::{RunReport, TableReport};
use crate::query::runs_report::RunsReport;
use crate::query::search::SearchReport;
use crate::query::verdict::sampler::Pids;
use crate::query::verdict::{ServerActivity, Verdict};
use crate::query::workload::mix::Mix;
use crate::query::workload::template::Template;
use crate::query::workload::{Arguments, Workload, WorkloadStatement};
use crate::{Error, Result};

/// What a meter measured.
#[derive(Debug)]
pub enum MeterOutcome {
    /// The report of one run, and the run in the form in which it can be saved.
    Run(Box<RunReport>, Box<SavedRun>),
    /// The report of several runs, and those that were complete in the form in which they can be saved; `None` if there
    /// are none, or if they were interleaved with others.
    Runs(Box<RunsReport>, Option<SavedRuns>),
    /// The report of a search of several runs.
    Search(Box<SearchReport>),
}

impl MeterOutcome {
    /// Why the run, the runs or the search ended early; `None` if it did not.
    pub fn ended_by(self) -> Option<Error> {
        match self {
            MeterOutcome::Run(report, _) => report.ended_by,
            MeterOutcome::Runs(report, _) => report.ended_by,
            MeterOutcome::Search(report) => report.ended_by,
        }
    }
}

/// Queries of a warm-up are numbered from here. Those of the run start at 0 either way, so a warm-up does not change
/// their arguments.
const FIRST_OF_WARM_UP: u64 = 1 << 62;

/// Measures how many queries per second a server executes, and their latencies.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use postgres_etl::postgres::Database;
/// # use postgres_etl::query::{Meter, MeterOptions, MeterOutcome, RunMonitor};
/// # use postgres_etl::Progress;
/// # async fn example(database: &Database) -> Result<(), Box<dyn std::error::Error>> {
/// let options = MeterOptions::statement("SELECT name FROM persons WHERE id = $1", ["uniform:1:rows".parse()?])?;
/// let meter = Meter::new(options)?;
/// let outcome = meter.run(database, &RunMonitor::default(), &Arc::new(Progress::default())).await?;
/// if let MeterOutcome::Run(report, _) = outcome {
///     println!("{:.0} queries/s", report.queries_per_second);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Meter {
    settings: MeterSettings,
    /// The settings of the other side; `None` if the runs are made alone.
    other_side: Option<MeterSettings>,
}

impl Meter {
    /// A meter with these `options`.
    ///
    /// # Errors
    /// As [`MeterOptions::check`].
    pub fn new(options: MeterOptions) -> Result<Self> {
        let settings = MeterSettings::new(options)?;
        Ok(Meter { other_side: settings.other_side(), settings })
    }

    /// The largest number of connections that are open at once; the pool must be at least as large.
    pub fn connections_needed(&self) -> usize {
        self.settings.connections_needed()
    }

    /// Run the workloads on `database`.
    ///
    /// `monitor` shows each run while it is in progress. [`Progress::cancel`] ends it early; what was measured until
    /// then is reported.
    ///
    /// # Errors
    /// When the table is missing or empty, or a statement does not prepare or does not fit its arguments. Failed
    /// queries do not end a run; they are counted.
    pub async fn run(
        &self,
        database: &Database,
        monitor: &RunMonitor,
        progress: &Arc<Progress>,
    ) -> Result<MeterOutcome> {
        let settings = &self.settings;
        if settings.against.is_some() {
            return self.run_against(database, database, monitor, progress).await;
        }
        // Read it first, so that an unreadable file does not cost a whole run.
        let baseline = self.baseline()?;
        let mut meter = OpenMeter::on(database, settings, monitor, progress).await?;
        if let Some(search) = &settings.search {
            return Ok(MeterOutcome::Search(Box::new(meter.search(search).await?)));
        }
        if settings.runs > 1 {
            let (report, saved) = meter.runs(baseline).await?;
            return Ok(MeterOutcome::Runs(Box::new(report), saved));
        }
        let (mut report, run) = meter.measure(&RunShape::from_settings(settings)).await?;
        if settings.explain && !report.interrupted && report.ended_by.is_none() {
            monitor.begin_step("explaining the slowest queries");
            // An interruption here costs the plans, not the report.
            report.plans = tokio::select! {
                plans = meter.slowest_plans(&run) => Some(plans),
                () = worker::grace_over(progress) => None,
                () = settings.limits.overdue() => None,
            };
        }
        let saved = SavedRun::new(&report, &run.total);
        if let Some((baseline, path)) = baseline {
            let (runs, name) = (std::slice::from_ref(&saved), path.display().to_string());
            report.comparison = Some(compare(runs, baseline.runs(), false, name, &settings.fail_if));
        }
        Ok(MeterOutcome::Run(Box::new(report), Box::new(saved)))
    }

    /// Run the workloads on `database`, interleaved with those of [`MeterOptions::against`] on `other`, which may be the
    /// same; both with the same arguments. In every pair of runs chance decides which comes first.
    ///
    /// # Errors
    /// As [`Meter::run`], and when the options have nothing to run against.
    pub async fn run_against(
        &self,
        database: &Database,
        other: &Database,
        monitor: &RunMonitor,
        progress: &Arc<Progress>,
    ) -> Result<MeterOutcome> {
        let (Some(other_side), Some(workloads)) = (&self.other_side, &self.settings.against) else {
            return Err(
                Error::usage("nothing to run against was given").with_help("set MeterOptions::against")
            );
        };
        let name = match (std::ptr::eq(database, other), &workloads[..]) {
            (false, _) => other.describe(),
            (true, [Workload { statements, .. }]) if statements.len() == 1 => statements[0].sql.clone(),
            (true, workloads) => {
                workloads.iter().map(|workload| workload.name.as_str()).collect::<Vec<_>>().join(", ")
            }
        };
        let meter = OpenMeter::on(database, &self.settings, monitor, progress).await?;
        let other = OpenMeter::on(other, other_side, monitor, progress).await?;
        let report = meter.interleaved_runs(other, name).await?;
        Ok(MeterOutcome::Runs(Box::new(report), None))
    }

    /// The saved runs to compare with, and their file.
    fn baseline(&self) -> Result<Option<(SavedRuns, &Path)>> {
        let Some(path) = self.settings.baseline.as_deref() else { return Ok(None) };
        let baseline = SavedRuns::read(path)?;
        if let Some((here, there)) = other_statements(&self.settings.workloads, &baseline.runs()[0]) {
            return Err(Error::usage(format!(
                "{} is of other work: it measured {there}, and this run would measure {here}",
                path.display()
            ))
            .with_help("run the same statements, or compare two statements with --against-sql"));
        }
        let runs = baseline.runs().len();
        if runs < FEWEST_JUDGED && !self.settings.fail_if.is_empty() {
            let has = if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") };
            return Err(Error::input(format!(
                "--fail-if needs {FEWEST_JUDGED} runs or more on both sides to tell change from noise; {} has {has}",
                path.display()
            ))
            .with_help("save the baseline with --runs 5 or more"));
        }
        Ok(Some((baseline, path)))
    }
}

/// What differs between the runs of a search.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunShape {
    /// The number of connections.
    pub connections: usize,
    /// Queries in flight on each connection.
    pub depth: usize,
    /// The rate in queries per second; `None` in a closed loop.
    pub rate: Option<f64>,
}

impl RunShape {
    pub(super) fn from_settings(settings: &MeterSettings) -> RunShape {
        RunShape { connections: settings.connections, depth: settings.pipeline_depth, rate: settings.rate }
    }
}

/// A meter that is ready to measure: what stays the same from run to run.
pub(super) struct OpenMeter<'a> {
    pub(super) settings: &'a MeterSettings,
    pub(super) hosts: RunHosts,
    pub(super) monitor: &'a RunMonitor,
    /// What the monitor shows after the names of the workloads: which of several runs it is.
    pub(super) label: String,
    pub(super) progress: &'a Arc<Progress>,
    /// The configured table; `None` if no workload depends on it.
    pub(super) table: Option<TableReport>,
    arguments: Vec<Arguments>,
    /// What results should be; `None` if they are not compared.
    pub(super) expected: Option<Expected>,
    connections: Vec<Connection>,
    shards: Shards,
}

impl Drop for OpenMeter<'_> {
    fn drop(&mut self) {
        // The shards drive the connections, and must outlive them.
        self.connections.drain(..).for_each(Connection::close);
    }
}

impl<'a> OpenMeter<'a> {
    /// A meter with these `settings` on `database`.
    async fn on(
        database: &Database,
        settings: &'a MeterSettings,
        monitor: &'a RunMonitor,
        progress: &'a Arc<Progress>,
    ) -> Result<OpenMeter<'a>> {
        check_pool(settings.connections_needed(), database.pool_size())?;
        monitor.begin_step("connecting");
        let read = database.read_pools(settings.session(), settings.read_from).await?;
        OpenMeter::open(settings, read, monitor, progress).await
    }

    /// Check that every workload can run, before any of them does.
    async fn open(
        settings: &'a MeterSettings,
        read: ReadPools,
        monitor: &'a RunMonitor,
        progress: &'a Arc<Progress>,
    ) -> Result<OpenMeter<'a>> {
        let (hosts, client) = RunHosts::open(read, settings, progress).await?;
        let table = if settings.workloads.iter().any(|workload| workload.needs(&settings.table.name)) {
            monitor.begin_step(format!("counting the rows of {}", settings.table.name));
            Some(count_rows(&client, &settings.table.name).await?)
        } else {
            None
        };
        let rows = table.as_ref().map_or(0, |table| table.rows);
        let mut arguments = Vec::new();
        for workload in &settings.workloads {
            monitor.begin_step(format!("preparing {}", workload.name));
            // First of all, because a wrong statement is the error to report.
            let prepared = settings.limits.in_time(workload.prepare(&client)).await?;
            let resolving = async {
                let (table, seed, base) = (&settings.table.name, settings.seed, &settings.base);
                let resolved = workload.resolve(&client, table, rows, seed, base).await?;
                workload.check_arguments(&client, &resolved, &prepared).await?;
                Ok(resolved)
            };
            let resolved = settings.limits.in_time(resolving).await?;
            arguments.push(resolved);
        }
        // Close it instead of returning it: a run that took it from the pool would have it driven by this thread, not
        // by a shard.
        drop(Object::take(client));
        let mut meter = OpenMeter {
            settings,
            hosts,
            monitor,
            label: String::new(),
            progress,
            table,
            arguments,
            expected: None,
            connections: Vec::new(),
            shards: Shards::start()?,
        };
        if settings.compares_results() {
            monitor.begin_step("running every query once, to know its result");
        }
        meter.expected = meter.expect().await?;
        Ok(meter)
    }

    /// The sender of a run with up to `depth` queries in flight on each connection.
    pub(super) fn sender(&self, depth: usize) -> QuerySender {
        let MeterSettings { workloads, protocol, seed, .. } = self.settings;
        let template = |statement: &WorkloadStatement| Template::new(&statement.sql);
        let templates =
            workloads.iter().map(|workload| workload.statements.iter().map(template).collect()).collect();
        QuerySender {
            mix: Mix::new(workloads.clone(), self.arguments.clone(), *seed),
            protocol: *protocol,
            one_by_one: depth == 1,
            shares_syncs: self.settings.sync_every.get() > 1,
            reads_results: self.settings.compares_results(),
            templates,
        }
    }

    /// Why the queries go through the driver; `None` if they go over the lane beside it.
    pub(super) fn through_driver(&self) -> Option<&'static str> {
        let MeterSettings { workloads, protocol, explain, .. } = self.settings;
        let server = self.hosts.server();
        let reasons = [
            (*protocol != Protocol::Prepared, "the protocol is not that of prepared statements"),
            (workloads.iter().any(|workload| workload.begin.is_some()), "there are transactions"),
            (*explain, "--explain looks at the plans of its statements"),
            (server.pooler || !server.named_statements, "statements have no names behind a pooler"),
        ];
        reasons.into_iter().find_map(|(applies, reason)| applies.then_some(reason))
    }

    /// Whether every workload is a transaction, so that transactions are counted.
    pub(super) fn counts_transactions(&self) -> bool {
        self.settings.workloads.iter().all(|workload| workload.begin.is_some())
    }

    /// Open or close connections until there are `wanted`, with every statement prepared.
    async fn connect(&mut self, wanted: usize) -> Result<Vec<Connection>> {
        let mut connections = std::mem::take(&mut self.connections);
        // A connection lost with the last query of a run was not replaced.
        connections.retain(|connection| !connection.client.is_closed());
        connections.drain(connections.len().min(wanted)..).for_each(Connection::close);
        while connections.len() < wanted {
            let (pool, host) = self.hosts.next(&connections);
            let (pool, workloads) = (pool.clone(), self.settings.workloads.clone());
            let (limits, uses_lane) = (self.settings.limits, self.through_driver().is_none());
            let opening =
                async move { limits.in_time(Connection::open((&pool, host), &workloads, uses_lane)).await };
            let opened = self.shards.handle(connections.len()).spawn(opening).await;
            connections.push(opened.expect("opening neither panics nor is aborted")?);
        }
        Ok(connections)
    }

    /// Close the connections and end the threads that drive them, so that the next run starts anew.
    pub(super) fn disconnect(&mut self) -> Result<()> {
        self.connections.drain(..).for_each(Connection::close);
        self.hosts.pools().iter().for_each(SessionPool::forget_connections);
        self.shards = Shards::start()?;
        Ok(())
    }

    /// Measure one run of `shape`, after a warm-up if there is to be one.
    pub(super) async fn measure(&mut self, shape: &RunShape) -> Result<(RunReport, RunResult)> {
        let settings = self.settings;
        let sender = Arc::new(self.sender(shape.depth));
        let RunShape { connections, depth, rate } = *shape;
        let loop_kind = rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("{rate}/s"));
        let sync_every = settings.sync_every;
        tracing::info!(
            "{connections} connections, {depth} in flight on each, {loop_kind}, up to {sync_every} per Sync, {:?}",
            settings.protocol
        );
        self.monitor.begin_step(format!("opening the connections, {}", shape.connections));
        let mut connections = self.connect(shape.connections).await?;
        let pids = self.hosts.pids(&connections);
        if !settings.warm_up.is_zero() {
            let limits = Limits { queries: None, duration: Some(settings.warm_up) };
            let plan = RunPlan {
                first: FIRST_OF_WARM_UP,
                // Errors of the warm-up are not those of the run.
                max_errors: u64::MAX,
                expected: None,
                ..self.plan(shape, &sender, limits)
            };
            let (run, warm) = self.run("warming up".into(), plan, connections, &pids).await?;
            if let Some(error) = run.ended_by {
                return Err(error);
            }
            connections = warm;
        }
        let samplers = self.hosts.watch(&pids).await;
        let connected: Vec<usize> = pids.iter().map(|pids| pids.get().len()).collect();
        let names: Vec<&str> = settings.workloads.iter().map(|workload| workload.name.as_str()).collect();
        let plan = self.plan(shape, &sender, settings.limits);
        let (mut run, connections) =
            self.run(names.join(", ") + &self.label, plan, connections, &pids).await?;
        self.connections = connections;
        let was_kept = shape.rate.is_some_and(|rate| run.kept(rate));
        let watched = samplers.finish(was_kept).await;
        let verdicts: Vec<&Verdict> = watched.iter().map(|(verdict, _)| verdict).collect();
        let mut bound = Verdict::of_hosts(&verdicts);
        if run.ended_by.is_some() && bound.activity != ServerActivity::default() {
            bound = bound.ended_early();
        }
        let mut report = self.report(shape, &sender, &run, bound);
        report.hosts = self.hosts.reports(&run, &connected, &watched, self.expected.is_some());
        report.ended_by = run.ended_by.take();
        Ok((report, run))
    }

    /// The plan of a run of `shape`.
    fn plan(&self, shape: &RunShape, sender: &Arc<QuerySender>, limits: Limits) -> RunPlan {
        let settings = self.settings;
        RunPlan {
            sender: Arc::clone(sender),
            depth: shape.depth,
            limits,
            schedule: shape.rate.map(|rate| Schedule::new(rate, settings.arrivals, settings.seed)),
            first: 0,
            sync_every: settings.sync_every,
            uses_lane: self.through_driver().is_none(),
            shares_syncs: settings.sync_every.get() > 1,
            retries: settings.retries,
            takes_times: settings.takes_times,
            keeps_slowest: settings.explain,
            max_errors: settings.max_errors.unwrap_or(u64::MAX),
            expected: self.expected.clone(),
        }
    }

    /// Carry out `plan`, and show it in the monitor as `title` meanwhile.
    async fn run(
        &self,
        title: String,
        plan: RunPlan,
        connections: Vec<Connection>,
        pids: &[Pids],
    ) -> Result<(RunResult, Vec<Connection>)> {
        let timeline: Arc<Timeline> = Arc::default();
        let _visible = self.monitor.begin(RunInProgress {
            name: title,
            is_measured: plan.first != FIRST_OF_WARM_UP,
            counts_transactions: self.counts_transactions(),
            started: Instant::now(),
            limits: plan.limits,
            timeline: Arc::clone(&timeline),
        });
        worker::run(plan, connections, self.hosts.pools(), &self.shards, &timeline, pids, self.progress).await
    }

    /// The plans of the slowest iteration of each workload.
    async fn slowest_plans(&self, run: &RunResult) -> Vec<SlowPlan> {
        let mut plans = Vec::new();
        for (workload, stats) in run.total.workloads.iter().enumerate() {
            let Some((took, iteration)) = stats.slowest else { continue };
            let connections = match self.settings.protocol {
                Protocol::Prepared => &self.connections[..],
                Protocol::Unnamed | Protocol::Simple => &[],
            };
            let slowest = SlowestIteration { workload, iteration, took };
            plans.extend(explain(self.hosts.pool(), &self.sender(1), &slowest, connections).await);
        }
        plans
    }
}

/// Count the rows of table `name`, and check that there are any.
async fn count_rows(client: &Client, name: &TableName) -> Result<TableReport> {
    let load = "load it first: postgres-etl load";
    let Some(Table { name, distribution, .. }) = Table::find(client, name).await? else {
        return Err(Error::new(ErrorKind::Database, format!("table {name} does not exist")).with_help(load));
    };
    let counting = Instant::now();
    let count = client.query_one(&format!("SELECT COUNT(*) FROM {}", name.sql()), &[]).await;
    let count = count.map_err(|error| Error::database(&format!("count the rows of {name}"), error))?;
    let count_seconds = counting.elapsed().as_secs_f64();
    match u64::try_from(count.get::<_, i64>(0)) {
        Ok(rows) if rows > 0 => Ok(TableReport { name: name.to_string(), rows, count_seconds, distribution }),
        _ => Err(Error::new(ErrorKind::Database, format!("table {name} is empty")).with_help(load)),
    }
}
