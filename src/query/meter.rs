//! The meter: opens the connections once, then measures one run or several.

use crate::query::drive::worker;
use crate::query::measure::tally;
use std::sync::Arc;
use std::time::Instant;

use tokio_postgres::Client;

use crate::catalog::{Table, TableName};
use crate::error::ErrorKind;
use crate::postgres::options::check_pool;
use crate::postgres::server::{Database, ServerFacts, SessionPool};
use crate::progress::Progress;
use crate::query::baseline::SavedRun;
use crate::query::drive::schedule::{Limits, Schedule};
use crate::query::drive::sender::{Connection, Protocol, QuerySender};
use crate::query::drive::shards::Shards;
use crate::query::drive::worker::{Expected, RunPlan, RunResult};
use crate::query::explain::SlowPlan;
use crate::query::measure::timeline::{RunMonitor, Timeline};
use crate::query::options::{MeterOptions, MeterSettings};
use crate::query::report::{Checked, ConnectionReport, LoadShape, OfferedReport, RunReport, TableReport};
use crate::query::run_report::{summary, with_interval, workloads};
use crate::query::search::{Axis, Point, RateSearch, Search, SearchReport, Setting};
use crate::query::verdict::{ActivitySampler, Pids, Verdict};
use crate::query::workload::template::Template;
use crate::query::workload::{self, Mix};
use crate::{Error, Result};

/// What `query` found out.
#[derive(Debug)]
pub enum MeterOutcome {
    /// One run, and the same as it may be kept.
    Run(Box<RunReport>, Box<SavedRun>),
    /// Several, in search of something.
    Search(Box<SearchReport>),
}

impl MeterOutcome {
    /// Why the search was not finished, or the run ended early.
    pub fn ended_by(self) -> Option<Error> {
        match self {
            MeterOutcome::Run(report, _) => report.ended_by,
            MeterOutcome::Search(report) => report.ended_by,
        }
    }
}

/// Queries of a warm-up are numbered from here on, so that what is measured does not depend on it.
const WARM_UP: u64 = 1 << 62;

/// The rate of an open loop is kept if this share of what was due was answered by the end, which allows for chance in
/// how much was due.
const ANSWERED: f64 = 0.9;

/// Measures how many queries a second a server answers, and how fast.
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
}

impl Meter {
    /// Settle what `options` mean.
    ///
    /// # Errors
    /// As [`MeterOptions::check`].
    pub fn new(options: MeterOptions) -> Result<Self> {
        Ok(Meter { settings: MeterSettings::new(options)? })
    }

    /// The most connections that a run opens at once: the pool has to hold as many.
    pub fn connections_needed(&self) -> usize {
        self.settings.connections_needed()
    }

    /// Run the workloads on `database`.
    ///
    /// `monitor` shows each run while it goes on. [`Progress::cancel`] ends it early; what was measured until then is
    /// reported.
    ///
    /// # Errors
    /// When a table is missing or empty, or a statement does not prepare or does not fit its arguments. Failed queries
    /// do not end a run; they are counted.
    pub async fn run(
        &self,
        database: &Database,
        monitor: &RunMonitor,
        progress: &Arc<Progress>,
    ) -> Result<MeterOutcome> {
        let settings = &self.settings;
        check_pool(settings.connections_needed(), database.pool_size())?;
        // Nobody should wait for a run to learn that the file cannot be read.
        let baseline = settings.baseline.as_deref().map(SavedRun::read).transpose()?;
        let pool = database.session_pool(settings.session())?;
        let mut meter = OpenMeter::open(settings, pool, monitor, progress).await?;
        if let Some(search) = &settings.search {
            return Ok(MeterOutcome::Search(Box::new(meter.search(search).await?)));
        }
        let (mut report, run) = meter.measure(&RunShape::of(settings)).await?;
        if settings.explain && !report.interrupted && report.ended_by.is_none() {
            // Nobody who stops waiting for the plans loses the figures.
            report.plans = tokio::select! {
                plans = meter.slowest_plans(&run) => Some(plans),
                () = worker::given_up(progress) => None,
            };
        }
        let saved = SavedRun::new(&report, &run.total.batches, &run.total.response);
        if let (Some(baseline), Some(path)) = (&baseline, &settings.baseline) {
            report.comparison = Some(saved.against(baseline, path, &settings.fail_if));
        }
        Ok(MeterOutcome::Run(Box::new(report), Box::new(saved)))
    }
}

/// What differs between the runs of a search.
#[derive(Debug, Clone, Copy)]
struct RunShape {
    connections: usize,
    depth: usize,
    rate: Option<f64>,
}

impl RunShape {
    fn of(settings: &MeterSettings) -> RunShape {
        RunShape { connections: settings.connections, depth: settings.pipeline_depth, rate: settings.rate }
    }
}

/// Everything that is needed to measure, and stays the same from run to run.
pub(crate) struct OpenMeter<'a> {
    pub(crate) settings: &'a MeterSettings,
    pub(crate) pool: SessionPool,
    pub(crate) monitor: &'a RunMonitor,
    pub(crate) progress: &'a Arc<Progress>,
    server: ServerFacts,
    table: Option<TableReport>,
    arguments: Vec<workload::Arguments>,
    expected: Option<Expected>,
    connections: Vec<Connection>,
    shards: Shards,
}

impl Drop for OpenMeter<'_> {
    fn drop(&mut self) {
        // Before the threads end that drive them.
        self.connections.drain(..).for_each(Connection::close);
    }
}

impl<'a> OpenMeter<'a> {
    /// See that everything can be asked, before anything is.
    async fn open(
        settings: &'a MeterSettings,
        pool: SessionPool,
        monitor: &'a RunMonitor,
        progress: &'a Arc<Progress>,
    ) -> Result<OpenMeter<'a>> {
        let client = pool.get().await?;
        let server = ServerFacts::from_client(&**client).await?;
        let table = if settings.workloads.iter().any(|workload| workload.needs(&settings.table.name)) {
            Some(count_rows(&client, &settings.table.name).await?)
        } else {
            None
        };
        let rows = table.as_ref().map_or(0, |table| table.rows);
        let mut arguments = Vec::new();
        for workload in &settings.workloads {
            // Before anything else opens, because this is the error to see.
            let prepared = workload.prepare(&client).await?;
            let resolved =
                workload.resolve(&client, &settings.table.name, rows, settings.seed, &settings.base).await?;
            workload.check_arguments(&client, &resolved, &prepared).await?;
            arguments.push(resolved);
        }
        // What the pool has when the run begins would be driven by this thread.
        drop(deadpool_postgres::Object::take(client));
        let mut meter = OpenMeter {
            settings,
            pool,
            monitor,
            progress,
            server,
            table,
            arguments,
            expected: None,
            connections: Vec::new(),
            shards: Shards::start()?,
        };
        meter.expected = meter.expect().await?;
        Ok(meter)
    }

    pub(crate) fn sender(&self, depth: usize) -> QuerySender {
        let MeterSettings { workloads, protocol, seed, .. } = self.settings;
        let template = |text: &workload::WorkloadStatement| Template::new(&text.sql);
        let templates =
            workloads.iter().map(|workload| workload.statements.iter().map(template).collect()).collect();
        QuerySender {
            mix: Mix::new(workloads.clone(), self.arguments.clone(), *seed),
            protocol: *protocol,
            one_by_one: depth == 1,
            batches: self.settings.sync_every.get() > 1,
            looks: self.settings.checks_results(),
            templates,
        }
    }

    /// Have as many connections as `wanted`, with everything prepared.
    async fn connect(&mut self, sender: &Arc<QuerySender>, wanted: usize) -> Result<Vec<Connection>> {
        let mut connections = std::mem::take(&mut self.connections);
        // One may have been lost with the last query of a run.
        connections.retain(|connection| !connection.client.is_closed());
        connections.drain(connections.len().min(wanted)..).for_each(Connection::close);
        while connections.len() < wanted {
            let (pool, sender) = (self.pool.clone(), Arc::clone(sender));
            let opening = async move { worker::connect(&pool, &sender).await };
            let opened = self.shards.of(connections.len()).spawn(opening).await;
            connections.push(opened.expect("opening neither panics nor is aborted")?);
        }
        Ok(connections)
    }

    /// Measure one run of `shape`.
    async fn measure(&mut self, shape: &RunShape) -> Result<(RunReport, RunResult)> {
        let settings = self.settings;
        let sender = Arc::new(self.sender(shape.depth));
        let mut connections = self.connect(&sender, shape.connections).await?;
        let plan = |limits: Limits, first: u64, expected: Option<Expected>| RunPlan {
            sender: Arc::clone(&sender),
            depth: shape.depth,
            limits,
            schedule: shape.rate.map(|rate| Schedule::new(rate, settings.arrivals, settings.seed)),
            first,
            batches: settings.sync_every.get() > 1,
            retries: settings.retries,
            takes_times: settings.takes_times,
            keeps_slowest: settings.explain,
            // What a warm-up is refused is no part of the run.
            max_errors: settings.max_errors.filter(|_| first != WARM_UP).unwrap_or(u64::MAX),
            expected,
        };
        let pids = Pids::new(connections.iter().map(|connection| connection.pid).collect());
        if !settings.warm_up.is_zero() {
            let limits = Limits { queries: None, duration: Some(settings.warm_up) };
            let timeline = Arc::default();
            let visible = self.monitor.begin("warming up".into(), &timeline, limits);
            let warmed = worker::run(
                plan(limits, WARM_UP, None),
                connections,
                &self.pool,
                &self.shards,
                &timeline,
                &pids,
                self.progress,
            )
            .await;
            drop(visible);
            let (run, warm) = warmed?;
            if let Some(error) = run.ended_by {
                return Err(error);
            }
            connections = warm;
        }
        let observer = match self.pool.open_extra().await {
            Ok(client) => Ok(ActivitySampler::start(client, pids.clone(), self.pool.is_local()).await),
            Err(error) => Err(Verdict::nothing(&error)),
        };
        let timeline: Arc<Timeline> = Arc::default();
        let names: Vec<&str> = settings.workloads.iter().map(|workload| workload.name.as_str()).collect();
        let visible = self.monitor.begin(names.join(", "), &timeline, settings.limits);
        let plan = plan(settings.limits, 0, self.expected.clone());
        let ran =
            worker::run(plan, connections, &self.pool, &self.shards, &timeline, &pids, self.progress).await;
        drop(visible);
        let (mut run, connections) = ran?;
        self.connections = connections;
        let was_kept = shape.rate.is_some_and(|rate| is_kept(rate, &run));
        let bound = match observer {
            Ok(observer) => observer.finish(was_kept).await,
            Err(nothing) => nothing,
        };
        let mut report = self.report(shape, &sender, &run, bound);
        report.ended_by = run.ended_by.take();
        Ok((report, run))
    }

    fn report(&self, shape: &RunShape, sender: &QuerySender, run: &RunResult, bound: Verdict) -> RunReport {
        let settings = self.settings;
        let RunResult { total, connections, elapsed, timeline, offered, .. } = run;
        let seconds = elapsed.as_secs_f64();
        let queries_per_second = total.answered as f64 / seconds;
        let checks = self.expected.is_some();
        RunReport {
            command: "query",
            interrupted: self.progress.is_cancelled(),
            ended_by: None,
            workloads: workloads(sender, run),
            queries: total.answered + total.error_count(),
            errors: total.error_count(),
            errors_by_sqlstate: total.errors.clone(),
            retries: total.retries,
            reconnections: total.reconnections,
            seconds,
            queries_per_second,
            rate_interval: total.batches.rate_interval(queries_per_second),
            response_us: with_interval(&total.response, &total.batches),
            service_us: summary(&total.service),
            waiting_us: summary(&total.split.waiting),
            server_us: summary(&total.split.server),
            load: LoadShape {
                connections: shape.connections,
                pipeline_depth: shape.depth,
                sync_every: settings.sync_every,
                protocol: settings.protocol,
                seed: settings.seed,
                rate: shape.rate,
                arrivals: shape.rate.map(|_| settings.arrivals),
                warm_up_seconds: settings.warm_up.as_secs_f64(),
                retries: settings.retries,
                verify: settings.verify,
            },
            limits: settings.limits,
            offered: offered.as_ref().map(|offered| OfferedReport {
                due: offered.due,
                unsent: offered.due - offered.sent,
                kept: shape.rate.is_some_and(|rate| is_kept(rate, run)),
                lag_p99_us: offered.lag.quantile(0.99),
                lag_max_us: offered.lag.quantile(1.0),
                late_p99_us: total.late.quantile(0.99),
                late_max_us: total.late.quantile(1.0),
            }),
            series: timeline.seconds(),
            connections: settings.per_connection.then(|| {
                let report = |(index, tally): (usize, &tally::RunStats)| ConnectionReport {
                    connection: index + 1,
                    answered: tally.answered,
                    errors: tally.error_count(),
                    response_us: with_interval(&tally.response, &tally.batches),
                };
                connections.iter().enumerate().map(report).collect()
            }),
            checked: checks.then(|| Checked {
                compared: total.compared,
                different: total.differences.0,
                first_difference: total.differences.1.clone(),
            }),
            bound,
            plans: None,
            table: self.table.clone(),
            server: self.server.clone(),
            comparison: None,
        }
    }

    /// The plans of the slowest run of each workload.
    async fn slowest_plans(&self, run: &RunResult) -> Vec<SlowPlan> {
        let mut plans = Vec::new();
        for (workload, tally) in run.total.workloads.iter().enumerate() {
            let Some((took, time)) = tally.slowest else { continue };
            let connections = match self.settings.protocol {
                Protocol::Prepared => &self.connections[..],
                Protocol::Unnamed | Protocol::Simple => &[],
            };
            let slowest = crate::query::explain::Slowest { workload, time, took };
            plans.extend(
                crate::query::explain::explain(&self.pool, &self.sender(1), &slowest, connections).await,
            );
        }
        plans
    }

    async fn search(&mut self, search: &Search) -> Result<SearchReport> {
        let base = RunShape::of(self.settings);
        let mut report = SearchReport {
            command: "query",
            search: match search {
                Search::Sweep(_) => "sweep",
                Search::Ramp(_) => "ramp",
                Search::FindMax(_) => "find-max",
            },
            workloads: self.settings.workloads.iter().map(|workload| workload.name.clone()).collect(),
            axes: match search {
                Search::Sweep(axes) => axes.clone(),
                Search::Ramp(_) | Search::FindMax(_) => Vec::new(),
            },
            points: Vec::new(),
            p99_bound_us: match search {
                Search::FindMax(bound) => Some(bound.as_secs_f64() * 1e6),
                Search::Sweep(_) | Search::Ramp(_) => None,
            },
            highest_rate: None,
            ended_by: None,
            table: self.table.clone(),
            server: self.server.clone(),
        };
        // What was found until then is reported whatever ends it.
        if let Err(error) = self.search_into(&mut report, search, base).await {
            report.ended_by = Some(error);
        }
        report.points.sort_by(|a, b| match search {
            Search::FindMax(_) => a.rate.unwrap_or(0.0).total_cmp(&b.rate.unwrap_or(0.0)),
            Search::Sweep(_) | Search::Ramp(_) => std::cmp::Ordering::Equal,
        });
        Ok(report)
    }

    async fn search_into(
        &mut self,
        report: &mut SearchReport,
        search: &Search,
        base: RunShape,
    ) -> Result<()> {
        match search {
            Search::Sweep(axes) => {
                for shape in combinations(base, axes) {
                    report.points.push(self.point(&shape).await?);
                }
            }
            Search::Ramp(ramp) => {
                for rate in ramp.rates() {
                    report.points.push(self.point(&RunShape { rate: Some(rate), ..base }).await?);
                }
            }
            Search::FindMax(bound) => {
                let bound_us = bound.as_secs_f64() * 1e6;
                let capacity = self.point(&RunShape { rate: None, ..base }).await?;
                // A lower one would have no two queries in a run.
                let lowest = self.settings.limits.duration.map_or(1.0, |step| 2.0 / step.as_secs_f64());
                let mut search = RateSearch::new(capacity.queries_per_second, lowest.clamp(0.001, 1.0));
                report.points.push(capacity);
                while let Some(rate) = search.next() {
                    let mut point = self.point(&RunShape { rate: Some(rate), ..base }).await?;
                    let in_bound = point.p99_us.is_some_and(|p99| p99 <= bound_us);
                    let held = in_bound && point.kept == Some(true) && point.errors == 0;
                    point.held = Some(held);
                    report.points.push(point);
                    search.tell(rate, held);
                    report.highest_rate = search.highest();
                }
            }
        }
        Ok(())
    }

    async fn point(&mut self, shape: &RunShape) -> Result<Point> {
        let (report, _) = self.measure(shape).await?;
        if report.interrupted {
            return Err(Error::interrupted());
        }
        if let Some(error) = report.ended_by {
            return Err(error);
        }
        let response = report.response_us;
        Ok(Point {
            connections: shape.connections,
            pipeline_depth: shape.depth,
            rate: shape.rate,
            queries_per_second: report.queries_per_second,
            mean_us: response.map(|response| response.mean),
            p99_us: response.map(|response| response.p99),
            errors: report.errors,
            different: report.checked.as_ref().map_or(0, |checked| checked.different),
            first_difference: report.checked.and_then(|checked| checked.first_difference),
            unsent: report.offered.map_or(0, |offered| offered.unsent),
            kept: report.offered.map(|offered| offered.kept),
            held: None,
            bound: report.bound.by,
        })
    }
}

/// Whether an open loop could keep to its `rate`.
fn is_kept(rate: f64, run: &RunResult) -> bool {
    let Some(offered) = &run.offered else { return false };
    let due = offered.due as f64;
    let on_the_way = run.connections.len() as f64;
    let reached = run.total.answered as f64;
    let in_time = rate * run.elapsed.as_secs_f64();
    // With a number of queries all are sent in the end, but too late.
    offered.sent == offered.due
        && reached >= ANSWERED * due - on_the_way
        && due >= ANSWERED * in_time - 3.0 * in_time.sqrt() - on_the_way
}

/// Every combination of `axes`, the last one changing fastest.
fn combinations(base: RunShape, axes: &[Axis]) -> Vec<RunShape> {
    axes.iter().fold(vec![base], |shapes, axis| {
        let with = |shape: RunShape, value: usize| match axis.setting {
            Setting::Connections => RunShape { connections: value, ..shape },
            Setting::PipelineDepth => RunShape { depth: value, ..shape },
            Setting::Rate => RunShape { rate: Some(value as f64), ..shape },
        };
        shapes
            .into_iter()
            .flat_map(|shape| axis.values.iter().map(move |value| with(shape, *value)))
            .collect()
    })
}

/// The tutorial's summary query, which also says whether there is anything to ask.
async fn count_rows(client: &Client, name: &TableName) -> Result<TableReport> {
    let load = "load it first: postgres-etl load";
    let Some(Table { name, .. }) = Table::find(client, name).await? else {
        return Err(
            Error::new(ErrorKind::Database, format!("there is no table {name} to query")).with_help(load)
        );
    };
    let counting = Instant::now();
    let count = client.query_one(&format!("SELECT COUNT(*) FROM {}", name.sql()), &[]).await;
    let count = count.map_err(|error| Error::database(&format!("count the rows of {name}"), &error))?;
    let count_seconds = counting.elapsed().as_secs_f64();
    match u64::try_from(count.get::<_, i64>(0)) {
        Ok(rows) if rows > 0 => Ok(TableReport { name: name.to_string(), rows, count_seconds }),
        _ => Err(Error::new(ErrorKind::Database, format!("table {name} is empty")).with_help(load)),
    }
}
