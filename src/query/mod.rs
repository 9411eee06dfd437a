//! How many queries a second, how fast each, whether rightly, and what bounded it.
//!
//! ```text
//!  workload ─▶ arguments ─▶ pace (open loop) ─▶ run: a window on each connection ─▶ ask ─▶ server
//!                                                            │
//!                        report ◀─ compare ◀─ tally ◀────────┘      observe looks at the server meanwhile
//! ```
//!
//! In a closed loop every connection keeps up to the pipeline depth of queries on the way, and sends the next one
//! when an answer comes. In an open loop queries are due at a given rate, whatever became of those before, and their
//! response times count from then. Nothing is measured before all connections are open and have prepared.

pub mod arguments;
pub mod arrivals;
pub mod ask;
pub mod batches;
pub mod compare;
pub mod explain;
mod inline;
pub mod latency;
pub mod live;
pub mod observe;
pub mod pace;
mod processors;
pub mod report;
pub mod run;
pub mod search;
mod shards;
pub mod tally;
pub mod timeline;
mod verify;
pub mod workload;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

pub use report::QueryReport;
pub use search::SearchReport;

use crate::config::{Arg, QuerySettings};
use crate::error::Kind;
use crate::postgres::database::{Connections, Database, ServerFacts};
use crate::progress::Counters;
use crate::table::{Table, TableName};
use crate::{Error, Result};
use ask::{Asker, Connection, Protocol};
use batches::Batches;
use compare::Saved;
use explain::SlowPlan;
use inline::Template;
use latency::{Latencies, LatencySummary};
use live::Live;
use observe::{Observed, Observer, Pids};
use pace::{Limits, Schedule};
use report::{
    Checked, ConnectionReport, LoadShape, OfferedReport, StatementReport, TableReport, WorkloadReport,
};
use run::{Expected, Plan, Stretch};
use search::{Axis, Bisection, Point, Search, Setting};
use shards::Shards;
use tally::ScriptTally;
use timeline::Timeline;
use workload::Mix;

/// What `query` found out.
#[derive(Debug)]
pub enum Found {
    /// One run, and the same as it may be kept.
    Run(Box<QueryReport>, Box<Saved>),
    /// Several, in search of something.
    Search(Box<SearchReport>),
}

impl Found {
    /// Why the search was not finished, or the run ended early.
    pub fn ended_by(self) -> Option<Error> {
        match self {
            Found::Run(report, _) => report.ended_by,
            Found::Search(report) => report.ended_by,
        }
    }
}

/// Queries of a warm-up are numbered from here on, so that what is measured does not depend on it.
const WARM_UP: u64 = 1 << 62;

/// The rate of an open loop is kept if this share of what was due was answered by the end, which allows for chance in
/// how much was due.
const ANSWERED: f64 = 0.9;

/// Run the workloads of `settings`.
///
/// # Errors
/// When a table is missing or empty, or a statement does not prepare or does not fit its arguments. Refused queries
/// do not end a run, they are counted.
pub async fn query(
    settings: &QuerySettings,
    database: &Database,
    live: Live,
    counters: &Arc<Counters>,
) -> Result<Found> {
    // Nobody should wait for a run to learn that the file cannot be read.
    let baseline = settings.baseline.as_deref().map(Saved::read).transpose()?;
    let mut meter = Meter::open(settings, database, live, counters).await?;
    if let Some(search) = &settings.search {
        return Ok(Found::Search(Box::new(meter.search(search).await?)));
    }
    let (mut report, stretch) = meter.measure(&Shape::of(settings)).await?;
    if settings.explain && !report.interrupted && report.ended_by.is_none() {
        // Nobody who stops waiting for the plans loses the figures.
        report.plans = tokio::select! {
            plans = meter.slowest_plans(&stretch) => Some(plans),
            () = run::given_up(counters) => None,
        };
    }
    let saved = Saved::new(&report, &stretch.total.batches, &stretch.total.response);
    if let (Some(baseline), Some(path)) = (&baseline, &settings.baseline) {
        report.comparison = Some(saved.against(baseline, path, &settings.fail_if));
    }
    Ok(Found::Run(Box::new(report), Box::new(saved)))
}

/// What differs between the runs of a search.
#[derive(Debug, Clone, Copy)]
struct Shape {
    connections: usize,
    depth: usize,
    rate: Option<f64>,
}

impl Shape {
    fn of(settings: &QuerySettings) -> Shape {
        Shape { connections: settings.connections, depth: settings.pipeline_depth, rate: settings.rate }
    }
}

/// Everything that is needed to measure, and stays the same from run to run.
struct Meter<'a> {
    settings: &'a QuerySettings,
    database: &'a Database,
    pool: Connections,
    live: Live,
    counters: &'a Arc<Counters>,
    server: ServerFacts,
    table: Option<TableReport>,
    arguments: Vec<workload::Arguments>,
    expected: Option<Expected>,
    connections: Vec<Connection>,
    shards: Shards,
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        // Before the threads end that drive them.
        self.connections.drain(..).for_each(Connection::close);
    }
}

impl<'a> Meter<'a> {
    /// See that everything can be asked, before anything is.
    async fn open(
        settings: &'a QuerySettings,
        database: &'a Database,
        live: Live,
        counters: &'a Arc<Counters>,
    ) -> Result<Meter<'a>> {
        let client = database.connection().await?;
        let server = ServerFacts::of(&**client).await?;
        let table = if settings.scripts.iter().any(|script| script.needs(&settings.table.name)) {
            Some(count_rows(&client, &settings.table.name).await?)
        } else {
            None
        };
        let rows = table.as_ref().map_or(0, |table| table.rows);
        let mut arguments = Vec::new();
        for script in &settings.scripts {
            // Before anything else opens, because this is the error to see.
            let prepared = script.prepare(&client).await?;
            let resolved =
                script.resolve(&client, &settings.table.name, rows, settings.seed, &settings.base).await?;
            script.check_arguments(&client, &resolved, &prepared).await?;
            arguments.push(resolved);
        }
        // What the pool has when the run begins would be driven by this thread.
        drop(deadpool_postgres::Object::take(client));
        let mut meter = Meter {
            settings,
            database,
            pool: database.connections(),
            live,
            counters,
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

    fn asker(&self, depth: usize) -> Asker {
        let QuerySettings { scripts, protocol, seed, .. } = self.settings;
        let template = |text: &workload::Text| Template::new(&text.sql);
        let templates =
            scripts.iter().map(|script| script.statements.iter().map(template).collect()).collect();
        Asker {
            mix: Mix::new(scripts.clone(), self.arguments.clone(), *seed),
            protocol: *protocol,
            one_by_one: depth == 1,
            batches: self.settings.sync_every.get() > 1,
            looks: self.settings.checks(),
            templates,
        }
    }

    /// Have as many connections as `wanted`, with everything prepared.
    async fn connect(&mut self, asker: &Arc<Asker>, wanted: usize) -> Result<Vec<Connection>> {
        let mut connections = std::mem::take(&mut self.connections);
        // One may have been lost with the last query of a run.
        connections.retain(|connection| !connection.client.is_closed());
        connections.drain(connections.len().min(wanted)..).for_each(Connection::close);
        while connections.len() < wanted {
            let (pool, asker) = (self.pool.clone(), Arc::clone(asker));
            let opening = async move { run::connect(&pool, &asker).await };
            let opened = self.shards.of(connections.len()).spawn(opening).await;
            connections.push(opened.expect("opening neither panics nor is aborted")?);
        }
        Ok(connections)
    }

    /// Measure one run of `shape`.
    async fn measure(&mut self, shape: &Shape) -> Result<(QueryReport, Stretch)> {
        let settings = self.settings;
        let asker = Arc::new(self.asker(shape.depth));
        let mut connections = self.connect(&asker, shape.connections).await?;
        let plan = |limits: Limits, first: u64, expected: Option<Expected>| Plan {
            asker: Arc::clone(&asker),
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
            let drawing = self.live.draw("warming up".into(), &timeline, limits);
            let warmed = run::run(
                plan(limits, WARM_UP, None),
                connections,
                &self.pool,
                &self.shards,
                &timeline,
                &pids,
                self.counters,
            )
            .await;
            drawing.finish();
            let (stretch, warm) = warmed?;
            if let Some(error) = stretch.ended_by {
                return Err(error);
            }
            connections = warm;
        }
        let observer = match self.database.extra_connection().await {
            Ok(client) => Ok(Observer::start(client, pids.clone(), self.database.is_local()).await),
            Err(error) => Err(Observed::nothing(&error)),
        };
        let timeline: Arc<Timeline> = Arc::default();
        let names: Vec<&str> = settings.scripts.iter().map(|script| script.name.as_str()).collect();
        let drawing = self.live.draw(names.join(", "), &timeline, settings.limits);
        let plan = plan(settings.limits, 0, self.expected.clone());
        let ran =
            run::run(plan, connections, &self.pool, &self.shards, &timeline, &pids, self.counters).await;
        drawing.finish();
        let (mut stretch, connections) = ran?;
        self.connections = connections;
        let was_kept = shape.rate.is_some_and(|rate| is_kept(rate, &stretch));
        let bound = match observer {
            Ok(observer) => observer.finish(was_kept).await,
            Err(nothing) => nothing,
        };
        let mut report = self.report(shape, &asker, &stretch, bound);
        report.ended_by = stretch.ended_by.take();
        Ok((report, stretch))
    }

    fn report(&self, shape: &Shape, asker: &Asker, stretch: &Stretch, bound: Observed) -> QueryReport {
        let settings = self.settings;
        let Stretch { total, connections, elapsed, timeline, offered, .. } = stretch;
        let seconds = elapsed.as_secs_f64();
        let queries_per_second = total.answered as f64 / seconds;
        let checks = self.expected.is_some();
        QueryReport {
            command: "query",
            interrupted: self.counters.is_cancelled(),
            ended_by: None,
            workloads: workloads(asker, stretch),
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
                kept: shape.rate.is_some_and(|rate| is_kept(rate, stretch)),
                lag_p99_us: offered.lag.quantile(0.99),
                lag_max_us: offered.lag.quantile(1.0),
                late_p99_us: total.late.quantile(0.99),
                late_max_us: total.late.quantile(1.0),
            }),
            series: timeline.seconds(),
            connections: settings.per_connection.then(|| {
                let report = |(index, tally): (usize, &tally::Tally)| ConnectionReport {
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
    async fn slowest_plans(&self, stretch: &Stretch) -> Vec<SlowPlan> {
        let mut plans = Vec::new();
        for (script, tally) in stretch.total.scripts.iter().enumerate() {
            let Some((took, time)) = tally.slowest else { continue };
            let connections = match self.settings.protocol {
                Protocol::Prepared => &self.connections[..],
                Protocol::Unnamed | Protocol::Simple => &[],
            };
            let slowest = explain::Slowest { script, time, took };
            plans.extend(explain::explain(&self.pool, &self.asker(1), &slowest, connections).await);
        }
        plans
    }

    async fn search(&mut self, search: &Search) -> Result<SearchReport> {
        let base = Shape::of(self.settings);
        let mut report = SearchReport {
            command: "query",
            search: match search {
                Search::Sweep(_) => "sweep",
                Search::Ramp(_) => "ramp",
                Search::FindMax(_) => "find-max",
            },
            workloads: self.settings.scripts.iter().map(|script| script.name.clone()).collect(),
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

    async fn search_into(&mut self, report: &mut SearchReport, search: &Search, base: Shape) -> Result<()> {
        match search {
            Search::Sweep(axes) => {
                for shape in combinations(base, axes) {
                    report.points.push(self.point(&shape).await?);
                }
            }
            Search::Ramp(ramp) => {
                for rate in ramp.rates() {
                    report.points.push(self.point(&Shape { rate: Some(rate), ..base }).await?);
                }
            }
            Search::FindMax(bound) => {
                let bound_us = bound.as_secs_f64() * 1e6;
                let capacity = self.point(&Shape { rate: None, ..base }).await?;
                // A lower one would have no two queries in a run.
                let lowest = self.settings.limits.duration.map_or(1.0, |step| 2.0 / step.as_secs_f64());
                let mut bisection = Bisection::new(capacity.queries_per_second, lowest.clamp(0.001, 1.0));
                report.points.push(capacity);
                while let Some(rate) = bisection.next() {
                    let mut point = self.point(&Shape { rate: Some(rate), ..base }).await?;
                    let in_bound = point.p99_us.is_some_and(|p99| p99 <= bound_us);
                    let held = in_bound && point.kept == Some(true) && point.errors == 0;
                    point.held = Some(held);
                    report.points.push(point);
                    bisection.tell(rate, held);
                    report.highest_rate = bisection.highest();
                }
            }
        }
        Ok(())
    }

    async fn point(&mut self, shape: &Shape) -> Result<Point> {
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
fn is_kept(rate: f64, stretch: &Stretch) -> bool {
    let Some(offered) = &stretch.offered else { return false };
    let due = offered.due as f64;
    let on_the_way = stretch.connections.len() as f64;
    let reached = stretch.total.answered as f64;
    let in_time = rate * stretch.elapsed.as_secs_f64();
    // With a number of queries all are sent in the end, but too late.
    offered.sent == offered.due
        && reached >= ANSWERED * due - on_the_way
        && due >= ANSWERED * in_time - 3.0 * in_time.sqrt() - on_the_way
}

/// Every combination of `axes`, the last one changing fastest.
fn combinations(base: Shape, axes: &[Axis]) -> Vec<Shape> {
    axes.iter().fold(vec![base], |shapes, axis| {
        let with = |shape: Shape, value: usize| match axis.setting {
            Setting::Connections => Shape { connections: value, ..shape },
            Setting::PipelineDepth => Shape { depth: value, ..shape },
            Setting::Rate => Shape { rate: Some(value as f64), ..shape },
        };
        shapes
            .into_iter()
            .flat_map(|shape| axis.values.iter().map(move |value| with(shape, *value)))
            .collect()
    })
}

fn summary(latencies: &Latencies) -> Option<LatencySummary> {
    (!latencies.is_empty()).then(|| latencies.summary())
}

fn with_interval(latencies: &Latencies, batches: &Batches) -> Option<LatencySummary> {
    let summary = summary(latencies)?;
    Some(LatencySummary { mean_interval: batches.mean_interval(summary.mean), ..summary })
}

fn workloads(asker: &Asker, stretch: &Stretch) -> Vec<WorkloadReport> {
    let nothing = ScriptTally::default();
    let only = asker.mix.scripts.len() == 1;
    let report = |(index, script): (usize, &workload::Script)| {
        let tally = stretch.total.scripts.get(index).unwrap_or(&nothing);
        let statement = |sql: &str, args: Vec<Arg>, at: usize| StatementReport {
            sql: sql.to_owned(),
            args,
            took_us: tally.statements.get(at).and_then(summary),
        };
        let own = |text: &workload::Text, at: usize| {
            statement(&text.sql, script.arguments_of(text).cloned().collect(), at)
        };
        let statements = match &script.begin {
            None => script.statements.iter().map(|text| own(text, usize::MAX)).collect(),
            Some(begin) => {
                let last = script.statements.len() + 1;
                let texts = script.statements.iter().zip(1..).map(|(text, at)| own(text, at));
                let begin = std::iter::once(statement(begin, Vec::new(), 0));
                begin.chain(texts).chain([statement("COMMIT", Vec::new(), last)]).collect()
            }
        };
        let total = &stretch.total;
        WorkloadReport {
            name: script.name.clone(),
            weight: script.weight,
            statements,
            answered: if only { total.answered } else { tally.answered },
            errors: if only { total.error_count() } else { tally.errors },
            response_us: if only {
                with_interval(&total.response, &total.batches)
            } else {
                with_interval(&tally.response, &tally.batches)
            },
        }
    };
    asker.mix.scripts.iter().enumerate().map(report).collect()
}

/// The tutorial's summary query, which also says whether there is anything to ask.
async fn count_rows(client: &Client, name: &TableName) -> Result<TableReport> {
    let load = "load it first: postgres-etl load";
    let Some(Table { name, .. }) = Table::find(client, name).await? else {
        return Err(Error::new(Kind::Database, format!("there is no table {name} to query")).with_help(load));
    };
    let counting = Instant::now();
    let count = client.query_one(&format!("SELECT COUNT(*) FROM {}", name.sql()), &[]).await;
    let count = count.map_err(|error| Error::database(&format!("count the rows of {name}"), &error))?;
    let count_seconds = counting.elapsed().as_secs_f64();
    match u64::try_from(count.get::<_, i64>(0)) {
        Ok(rows) if rows > 0 => Ok(TableReport { name: name.to_string(), rows, count_seconds }),
        _ => Err(Error::new(Kind::Database, format!("table {name} is empty")).with_help(load)),
    }
}

/// How long each run of a search takes, unless somebody says otherwise.
pub const SEARCH_STEP: Duration = Duration::from_secs(5);
