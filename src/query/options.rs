//! What a meter is to do: the options a caller sets, their checks, and the settings that result.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use crate::catalog::{TableName, TableSpec};
use crate::postgres::options::{SessionOptions, check_depth};
use crate::postgres::spread::ReadFrom;
use crate::query::comparison::{FEWEST_JUDGED, Threshold};
use crate::query::drive::schedule::{Arrivals, Limits};
use crate::query::drive::sender::Protocol;
use crate::query::search::{Axis, RATES, Search, Setting};
use crate::query::workload::Workload;
use crate::query::workload::mix::MOST_WEIGHT;
use crate::query::workload::spec::{ArgSpec, WorkloadSpec};
use crate::{Error, Result};

/// Queries of a run, unless [`MeterOptions::limits`] says otherwise.
pub(super) const QUERIES: u64 = 100_000;

/// Connections of a run, unless [`MeterOptions::connections`] says otherwise.
pub(super) const CONNECTIONS: usize = 20;

/// Queries in flight on each connection of a closed loop, unless [`MeterOptions::pipeline_depth`] says otherwise.
pub(super) const PIPELINE_DEPTH: usize = 8;

/// Queries that share a Sync, unless [`MeterOptions::sync_every`] says otherwise.
pub(super) const SYNC_EVERY: usize = 256;

/// How long each run of a search takes, unless [`MeterOptions::limits`] says otherwise.
pub(super) const SEARCH_STEP: Duration = Duration::from_secs(5);

/// The longest duration, warm-up or wait.
const LONGEST_TIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// How long to wait for the replay of the log, unless [`MeterOptions::wait_timeout`] says otherwise.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Pairs of runs that are interleaved, unless [`MeterOptions::runs`] says otherwise.
pub(super) const PAIRS: usize = 10;

/// What a [`Meter`](crate::query::Meter) is to do.
///
/// Every option but the workloads has a default: 100,000 queries over 20 connections in a closed loop, 8 of them in
/// flight on each connection.
///
/// ```
/// use std::time::Duration;
/// use postgres_etl::query::{Limits, MeterOptions};
///
/// let options = MeterOptions::statement("SELECT name FROM persons WHERE id = $1", ["uniform:1:rows".parse()?])?
///     .rate(2000.0)
///     .limits(Limits { queries: None, duration: Some(Duration::from_secs(30)) });
/// options.check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Options that contradict each other are reported by [`MeterOptions::check`], and by
/// [`Meter::new`](crate::query::Meter::new); the errors name options as the command line spells them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MeterOptions {
    /// The workloads, mixed by their weights; at least one.
    pub workloads: Vec<Workload>,
    /// Where the relative paths of CSV arguments start.
    pub base: PathBuf,
    /// The table whose rows `rows` counts in an argument.
    pub table: TableSpec,
    /// When a run ends; `None` for 100,000 queries, or 5 s for each run of a search.
    pub limits: Option<Limits>,
    /// How long to send queries before anything is measured.
    pub warm_up: Duration,
    /// Connections; at least 1.
    pub connections: usize,
    /// Queries in flight on each connection, from 1 to 65,536; `None` for 8, or 1 in an open loop.
    pub pipeline_depth: Option<usize>,
    /// Queries that share a Sync, at least 1; `None` for 256 where queries [can share
    /// one](MeterOptions::can_share_syncs), else 1. Queries that share a Sync run read-only, because a later failure in
    /// their group would undo what they wrote.
    pub sync_every: Option<usize>,
    /// How statements are sent.
    pub protocol: Protocol,
    /// The seed of the random arguments: equal seeds draw equal arguments.
    pub seed: u64,
    /// Queries per second in an open loop; `None` for a closed loop.
    pub rate: Option<f64>,
    /// How the queries of an open loop are spread over time; `None` for [`Arrivals::Poisson`].
    pub arrivals: Option<Arrivals>,
    /// How many times a query is sent again after a serialization failure or a deadlock.
    pub retries: u64,
    /// Stop, and fail, after more errors than this; `None` never stops, and one error fails the run.
    pub max_errors: Option<u64>,
    /// Run every query once before the run, over a single connection, and compare every result of the run with these.
    pub verify: bool,
    /// Fail unless every result has exactly this many rows.
    pub expect_rows: Option<u64>,
    /// Fail unless the first value of every result is this.
    pub expect_value: Option<String>,
    /// Measure latencies.
    pub takes_times: bool,
    /// Report each connection separately.
    pub per_connection: bool,
    /// Report the plans of the slowest arguments.
    pub explain: bool,
    /// Make several runs with different settings.
    pub search: Option<Search>,
    /// How many runs to make, each on new connections; `None` for 1, or 10 pairs with [`against`](Self::against).
    pub runs: Option<usize>,
    /// The workloads of the other side, with whose runs those of `workloads` are interleaved. Workloads of equal names
    /// have equal arguments. They are the same if the other side is [another
    /// server](crate::query::Meter::run_against).
    pub against: Option<Vec<Workload>>,
    /// Compare the runs with those saved in this file.
    pub baseline: Option<PathBuf>,
    /// Fail if the runs are worse than the baseline, or than the other side, by more than these thresholds.
    pub fail_if: Vec<Threshold>,
    /// Which of the hosts of the connection settings to send queries to, spread evenly; `None` for what the settings say:
    /// several for `load_balance_hosts=random`, and for `target_session_attrs` standby and prefer-standby.
    pub read_from: Option<ReadFrom>,
    /// A position in the write-ahead log, such as `0/3000148`, up to which every host must have replayed it before a query
    /// is sent.
    pub wait_for_lsn: Option<String>,
    /// How long to wait for that.
    pub wait_timeout: Duration,
}

impl MeterOptions {
    /// Run `workloads`, mixed by their weights; an argument's `rows` are those of `table`.
    pub fn new(workloads: Vec<Workload>, table: TableSpec) -> Self {
        MeterOptions {
            workloads,
            base: PathBuf::new(),
            table,
            limits: None,
            warm_up: Duration::ZERO,
            connections: CONNECTIONS,
            pipeline_depth: None,
            sync_every: None,
            protocol: Protocol::Prepared,
            seed: 1,
            rate: None,
            arrivals: None,
            retries: 0,
            max_errors: None,
            verify: false,
            expect_rows: None,
            expect_value: None,
            takes_times: true,
            per_connection: false,
            explain: false,
            search: None,
            runs: None,
            against: None,
            baseline: None,
            fail_if: Vec::new(),
            read_from: None,
            wait_for_lsn: None,
            wait_timeout: WAIT_TIMEOUT,
        }
    }

    /// Run the statement `sql`, with an argument for each of `$1`, `$2` …; an argument's `rows` are those of table
    /// `persons`, unless [`MeterOptions::table`] names another.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) when the statement is empty.
    pub fn statement(sql: &str, args: impl IntoIterator<Item = ArgSpec>) -> Result<Self> {
        let spec =
            WorkloadSpec { sql: sql.into(), args: args.into_iter().collect(), ..WorkloadSpec::default() };
        let workload = Workload::at("--sql", "--sql", &spec, &PathBuf::new())?;
        Ok(MeterOptions::new(vec![workload], TableSpec::named(TableName::parse("persons")?)))
    }

    /// When a run ends.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// How long to send queries before anything is measured.
    #[must_use]
    pub fn warm_up(mut self, duration: Duration) -> Self {
        self.warm_up = duration;
        self
    }

    /// Connections; at least 1.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Queries in flight on each connection, from 1 to 65,536.
    #[must_use]
    pub fn pipeline_depth(mut self, queries: usize) -> Self {
        self.pipeline_depth = Some(queries);
        self
    }

    /// Queries that share a Sync; 1 for a Sync each.
    #[must_use]
    pub fn sync_every(mut self, queries: usize) -> Self {
        self.sync_every = Some(queries);
        self
    }

    /// How statements are sent.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// The seed of the random arguments.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Send this many queries per second in an open loop.
    #[must_use]
    pub fn rate(mut self, queries_per_second: f64) -> Self {
        self.rate = Some(queries_per_second);
        self
    }

    /// Run every query once before the run, over a single connection, and compare every result of the run with these.
    #[must_use]
    pub fn verify(mut self) -> Self {
        self.verify = true;
        self
    }

    /// Make several runs with different settings.
    #[must_use]
    pub fn search(mut self, search: Search) -> Self {
        self.search = Some(search);
        self
    }

    /// How many runs to make, each on new connections.
    #[must_use]
    pub fn runs(mut self, runs: usize) -> Self {
        self.runs = Some(runs);
        self
    }

    /// Interleave the runs with those of other `workloads`, to compare the two.
    #[must_use]
    pub fn against(mut self, workloads: Vec<Workload>) -> Self {
        self.against = Some(workloads);
        self
    }

    /// Which of several hosts to send queries to.
    #[must_use]
    pub fn read_from(mut self, hosts: ReadFrom) -> Self {
        self.read_from = Some(hosts);
        self
    }

    /// Wait for up to `timeout` until every host has replayed the write-ahead log up to `lsn`, such as that of
    /// [`CommittedTransaction`](crate::load::CommittedTransaction), before a query is sent.
    #[must_use]
    pub fn wait_for_lsn(mut self, lsn: impl Into<String>, timeout: Duration) -> Self {
        (self.wait_for_lsn, self.wait_timeout) = (Some(lsn.into()), timeout);
        self
    }

    /// Check that the options fit together.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage), with the remedy, at the first contradiction and the first value
    /// out of range.
    pub fn check(&self) -> Result<()> {
        MeterSettings::new(self.clone()).map(drop)
    }

    /// Whether queries are due at a rate, in the run or in one of a search.
    pub fn is_open_loop(&self) -> bool {
        self.rate.is_some()
            || self.sweeps_rate()
            || matches!(self.search, Some(Search::Ramp(_) | Search::FindMax(_)))
    }

    /// Whether queries may share a Sync: all are prepared and only read, and the slowest need not be known.
    pub fn can_share_syncs(&self) -> bool {
        self.protocol == Protocol::Prepared
            && !self.explain
            && self.workloads.iter().chain(self.against.iter().flatten()).all(Workload::only_reads)
    }

    fn sweeps_rate(&self) -> bool {
        matches!(&self.search, Some(Search::Sweep(axes)) if axes.iter().any(|axis| axis.setting == Setting::Rate))
    }
}

/// The settings of a meter: [`MeterOptions`] that were checked, with the defaults filled in.
#[derive(Debug, Clone)]
pub(crate) struct MeterSettings {
    pub(crate) workloads: Vec<Workload>,
    pub(crate) base: PathBuf,
    pub(crate) table: TableSpec,
    pub(crate) limits: Limits,
    pub(crate) warm_up: Duration,
    pub(crate) connections: usize,
    pub(crate) pipeline_depth: usize,
    pub(crate) sync_every: NonZero<usize>,
    pub(crate) protocol: Protocol,
    pub(crate) seed: u64,
    pub(crate) rate: Option<f64>,
    pub(crate) arrivals: Arrivals,
    pub(crate) retries: u64,
    pub(crate) max_errors: Option<u64>,
    pub(crate) verify: bool,
    pub(crate) expect_rows: Option<u64>,
    pub(crate) expect_value: Option<String>,
    pub(crate) takes_times: bool,
    pub(crate) per_connection: bool,
    pub(crate) explain: bool,
    pub(crate) search: Option<Search>,
    /// Runs, or pairs of runs.
    pub(crate) runs: usize,
    pub(crate) against: Option<Vec<Workload>>,
    pub(crate) baseline: Option<PathBuf>,
    pub(crate) fail_if: Vec<Threshold>,
    pub(crate) read_from: Option<ReadFrom>,
    pub(crate) wait_for_lsn: Option<String>,
    pub(crate) wait_timeout: Duration,
}

impl MeterSettings {
    /// Check `options`, and fill in the defaults.
    ///
    /// # Errors
    /// At the first contradiction, and the first value out of range.
    pub(crate) fn new(options: MeterOptions) -> Result<MeterSettings> {
        let is_open_loop = options.is_open_loop();
        check_workloads(&options.workloads)?;
        if let Some(Search::Sweep(axes)) = &options.search {
            check_axes(axes)?;
        }
        let limits = options.limits.unwrap_or(match options.search {
            Some(_) => Limits { queries: None, duration: Some(SEARCH_STEP) },
            None => Limits { queries: Some(QUERIES), duration: None },
        });
        if let Some(against) = &options.against {
            check_workloads(against)?;
        }
        let runs = options.runs.unwrap_or(if options.against.is_some() { PAIRS } else { 1 });
        refuse_contradictions(&options, limits)?;
        refuse_several_runs(&options, runs)?;
        options.wait_for_lsn.as_deref().map_or(Ok(()), check_lsn)?;
        let times = [limits.duration, Some(options.warm_up), Some(options.wait_timeout)];
        if times.into_iter().flatten().any(|time| time > LONGEST_TIME) {
            return Err(
                Error::usage("a time is longer than a year").with_help("give a time of at most a year")
            );
        }
        if options.connections == 0 {
            return Err(Error::usage("the number of connections is 0").with_help("give a number from 1 up"));
        }
        // In an open loop a query that is due should find an idle connection rather than queue behind another.
        let default_depth = if is_open_loop { 1 } else { PIPELINE_DEPTH };
        let pipeline_depth = options.pipeline_depth.unwrap_or(default_depth);
        check_depth(pipeline_depth)?;
        Ok(MeterSettings {
            limits,
            pipeline_depth,
            sync_every: sync_every(&options)?,
            arrivals: options.arrivals.unwrap_or(Arrivals::Poisson),
            workloads: options.workloads,
            base: options.base,
            table: options.table,
            warm_up: options.warm_up,
            connections: options.connections,
            protocol: options.protocol,
            seed: options.seed,
            rate: options.rate,
            retries: options.retries,
            max_errors: options.max_errors,
            verify: options.verify,
            expect_rows: options.expect_rows,
            expect_value: options.expect_value,
            takes_times: options.takes_times,
            per_connection: options.per_connection,
            explain: options.explain,
            search: options.search,
            runs,
            against: options.against,
            baseline: options.baseline,
            fail_if: options.fail_if,
            read_from: options.read_from,
            wait_for_lsn: options.wait_for_lsn,
            wait_timeout: options.wait_timeout,
        })
    }

    /// The settings of the other side, with which the runs are interleaved.
    pub(crate) fn other_side(&self) -> Option<MeterSettings> {
        let workloads = self.against.clone()?;
        Some(MeterSettings { workloads, ..self.clone() })
    }

    /// How its connections are set up.
    pub(crate) fn session(&self) -> SessionOptions {
        SessionOptions {
            sync_every: self.sync_every,
            read_only: self.sync_every.get() > 1,
            ..SessionOptions::default()
        }
    }

    /// Whether results are compared with expected ones.
    pub(crate) fn compares_results(&self) -> bool {
        self.verify || self.expect_rows.is_some() || self.expect_value.is_some()
    }

    /// The largest number of connections that are open at once.
    pub(crate) fn connections_needed(&self) -> usize {
        let swept = match &self.search {
            Some(Search::Sweep(axes)) => axes
                .iter()
                .filter(|axis| axis.setting == Setting::Connections)
                .flat_map(|axis| axis.values.iter().copied())
                .max(),
            _ => None,
        };
        self.connections.max(swept.unwrap_or(0))
    }
}

/// Check that `lsn` is a position in a write-ahead log, as the server writes it.
fn check_lsn(lsn: &str) -> Result<()> {
    let is_half =
        |half: &str| (1..=8).contains(&half.len()) && half.bytes().all(|byte| byte.is_ascii_hexdigit());
    match lsn.split_once('/') {
        Some((high, low)) if is_half(high) && is_half(low) => Ok(()),
        _ => Err(Error::usage(format!("--wait-for-lsn {lsn} is not a position in the write-ahead log"))
            .with_help("give one such as 0/3000148: `lsn` of a load's report, or pg_current_wal_lsn()")),
    }
}

fn check_workloads(workloads: &[Workload]) -> Result<()> {
    if workloads.is_empty() {
        return Err(Error::usage("no workload was given").with_help("give at least one"));
    }
    let weight: u64 = workloads.iter().map(|workload| u64::from(workload.weight)).sum();
    if weight > MOST_WEIGHT {
        return Err(Error::config(format!("the weights of the mix add up to {weight}"))
            .with_help(format!("give numbers that add up to {MOST_WEIGHT} at most")));
    }
    Ok(())
}

fn check_axes(axes: &[Axis]) -> Result<()> {
    if axes.len() > 2 || (axes.len() == 2 && axes[0].setting == axes[1].setting) {
        return Err(Error::usage("--sweep maps one setting, or two different ones")
            .with_help("for example --sweep connections=1,2,4 pipeline-depth=1,8"));
    }
    for Axis { setting, values } in axes {
        for value in values {
            match setting {
                Setting::Connections if *value == 0 => {
                    return Err(Error::usage("--sweep connections=0 sends nothing")
                        .with_help("give numbers from 1 up"));
                }
                Setting::Connections => {}
                Setting::PipelineDepth => check_depth(*value)?,
                Setting::Rate if RATES.contains(&(*value as f64)) => {}
                Setting::Rate => {
                    return Err(Error::usage(format!("--sweep rate={value} is out of range"))
                        .with_help("give rates from 1 to 100000000"));
                }
            }
        }
    }
    Ok(())
}

fn refuse_contradictions(options: &MeterOptions, limits: Limits) -> Result<()> {
    let is_open_loop = options.is_open_loop();
    let is_search = options.search.is_some();
    let contradictions = [
        (
            options.verify && limits.queries.is_none(),
            "--verify runs every query once beforehand, so it has to know how many there are",
            "add -n; --duration may still end the run earlier",
        ),
        (
            options.sweeps_rate() && options.rate.is_some(),
            "--rate and --sweep rate=… both set the rate",
            "leave one of them out",
        ),
        (
            options.arrivals.is_some() && !is_open_loop,
            "--arrivals is for an open loop, in which queries are due at a rate",
            "add --rate",
        ),
        (
            !options.fail_if.is_empty() && options.baseline.is_none() && options.against.is_none(),
            "--fail-if compares with saved runs, or with the other side of --against",
            "add --baseline FILE",
        ),
        (
            is_search && options.baseline.is_some(),
            "--baseline compares runs with equal settings, not those of a search",
            "leave one of them out",
        ),
        (
            !options.takes_times
                && (options.baseline.is_some() || options.explain || is_search || is_open_loop),
            "--no-latency measures no latencies, which are needed here",
            "leave it out",
        ),
    ];
    match contradictions.into_iter().find(|(applies, ..)| *applies) {
        Some((_, message, help)) => Err(Error::usage(message).with_help(help)),
        None => Ok(()),
    }
}

/// Refuse what does not fit `runs` runs or the runs of a search.
fn refuse_several_runs(options: &MeterOptions, runs: usize) -> Result<()> {
    let is_search = options.search.is_some();
    let is_paired = options.against.is_some();
    let is_several = is_search || is_paired || runs > 1;
    let contradictions = [
        (runs == 0, "the number of runs is 0", "give a number from 1 up"),
        (
            is_search && (options.runs.is_some() || is_paired),
            "--runs and --against repeat a run, and a search changes its settings",
            "leave one of them out",
        ),
        (
            is_paired && options.baseline.is_some(),
            "--baseline and --against both say what the runs are compared with",
            "leave one of them out",
        ),
        (is_several && options.explain, "--explain is for a single run", "leave one of them out"),
        (
            is_several && options.per_connection,
            "--per-connection is for a single run",
            "leave one of them out",
        ),
        (
            !options.fail_if.is_empty() && runs < FEWEST_JUDGED,
            "--fail-if needs 5 runs or more on both sides to tell change from noise",
            "add --runs 5 or more; --save the baseline with as many",
        ),
    ];
    match contradictions.into_iter().find(|(applies, ..)| *applies) {
        Some((_, message, help)) => Err(Error::usage(message).with_help(help)),
        None => Ok(()),
    }
}

fn sync_every(options: &MeterOptions) -> Result<NonZero<usize>> {
    let is_prepared = options.protocol == Protocol::Prepared;
    let default = if options.can_share_syncs() { SYNC_EVERY } else { 1 };
    let Some(sync_every) = NonZero::new(options.sync_every.unwrap_or(default)) else {
        return Err(Error::usage("the number of queries per Sync is 0").with_help("give a number from 1 up"));
    };
    let contradictions = [
        (
            !is_prepared,
            "--sync-every is for prepared statements; others end with a Sync of their own",
            "leave it or --protocol out",
        ),
        (
            options.explain,
            "--explain has to know which query is slowest, but queries that share a Sync finish together",
            "leave --sync-every out",
        ),
    ];
    match contradictions.into_iter().find(|(applies, ..)| *applies && sync_every.get() > 1) {
        Some((_, message, help)) => Err(Error::usage(message).with_help(help)),
        None => Ok(sync_every),
    }
}
