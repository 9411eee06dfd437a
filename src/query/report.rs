//! The report of a run, for people and for machines.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZero;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::catalog::TableDistribution;
use crate::postgres::endpoint::Endpoint;
use crate::postgres::server::ServerFacts;
use crate::postgres::server_messages::ServerWarnings;
use crate::postgres::spread::UnusableHost;
use crate::query::drive::schedule::{Arrivals, Limits};
use crate::query::drive::sender::Protocol;
use crate::query::explain::SlowPlan;
use crate::query::measure::batch_means::Interval;
use crate::query::measure::latency::LatencySummary;
use crate::query::measure::run_stats::{ErrorCount, RunStats};
use crate::query::measure::timeline::Second;
use crate::query::verdict::Verdict;
use crate::query::verdict::replay::LagReport;
use crate::query::workload::spec::ArgSpec;

/// The report of a run.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunReport {
    /// `query`.
    pub command: &'static str,
    /// Whether Ctrl-C or a signal ended it early.
    pub interrupted: bool,
    /// Why the run ended early: a lost connection could not be replaced, or a statement wrote in a read-only session.
    /// `None` if it did not end early, or was interrupted.
    #[serde(serialize_with = "crate::error::as_text")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub ended_by: Option<Error>,
    /// The workloads, each with its own figures.
    pub workloads: Vec<WorkloadReport>,
    /// Queries that succeeded or failed.
    pub queries: u64,
    /// Queries that failed, or were lost with their connection.
    pub errors: u64,
    /// The failed queries by SQLSTATE, with the first message of each.
    pub errors_by_sqlstate: BTreeMap<String, ErrorCount>,
    /// How many times a query was sent again, after a serialization failure or a deadlock.
    pub retries: u64,
    /// How many lost connections were replaced.
    pub reconnections: u64,
    /// When it began, in UTC by the clock of the client, to the millisecond; so for its end.
    pub started_at: String,
    /// When its last result arrived.
    pub ended_at: String,
    /// From the start to the last result, in seconds.
    pub seconds: f64,
    /// Successful queries per second.
    pub queries_per_second: f64,
    /// The 95 % confidence interval of the rate; `None` when there is not enough data.
    pub rate_interval: Option<Interval>,
    /// Response times: from when a query was due (in a closed loop: sent) to the last of its result. `None` without
    /// latencies, or if no query succeeded; so for the other times.
    pub response_us: Option<LatencySummary>,
    /// Service times: from when a query was sent to the last of its result; `None` in a closed loop, where they are the
    /// response times.
    pub service_us: Option<LatencySummary>,
    /// The part of the response time before the server could begin: until the query was sent, and behind the earlier
    /// queries of its connection. `None` with one query in flight in a closed loop, where it is 0. The server's time
    /// for queries whose results arrive together, as with a shared Sync, is divided equally among them.
    pub waiting_us: Option<LatencySummary>,
    /// The rest of the response time; `None` where `waiting_us` is.
    pub server_us: Option<LatencySummary>,
    /// The settings of the load.
    pub load: LoadShape,
    /// When the run was to end.
    pub limits: Limits,
    /// How the queries of an open loop were sent; `None` in a closed loop.
    pub offered: Option<OfferedReport>,
    /// The run second by second.
    pub series: Vec<Second>,
    /// The figures of each connection; `None` if not requested.
    pub connections: Option<Vec<ConnectionReport>>,
    /// The hosts over which connections were spread, and their figures; `None` if all went to one host.
    pub hosts: Option<Vec<HostReport>>,
    /// How many results were as expected; `None` if they were not compared.
    pub checked: Option<ResultCheck>,
    /// What bounded the run.
    pub bound: Verdict,
    /// The plans of the slowest arguments; `None` if not requested, or interrupted.
    pub plans: Option<Vec<SlowPlan>>,
    /// The configured table; `None` if no workload depends on it.
    pub table: Option<TableReport>,
    /// The server, of several hosts the first, and its settings that affect timings.
    pub server: ServerFacts,
    /// What the server warned of so far.
    pub warnings: ServerWarnings,
    /// How the run compares with a saved run; `None` without a baseline.
    pub comparison: Option<Comparison>,
}

/// The configured table, whose rows were counted before the run.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TableReport {
    /// Its name.
    pub name: String,
    /// Its number of rows.
    pub rows: u64,
    /// How long counting them took, in seconds.
    pub count_seconds: f64,
    /// How Citus keeps them; `None` if it does not.
    pub distribution: Option<TableDistribution>,
}

/// The figures of one workload.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkloadReport {
    /// Its name.
    pub name: String,
    /// Its weight in the mix.
    pub weight: u32,
    /// Whether each of its queries is a transaction of all its statements.
    pub is_transaction: bool,
    /// Its statements.
    pub statements: Vec<StatementReport>,
    /// How many times it succeeded.
    pub answered: u64,
    /// How many times it failed.
    pub errors: u64,
    /// Its response times; `None` without latencies, or if no query succeeded.
    pub response_us: Option<LatencySummary>,
}

/// A statement of a workload.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StatementReport {
    /// Its text.
    pub sql: String,
    /// Where its arguments come from, in the notation of config.toml.
    pub args: Vec<ArgSpec>,
    /// In a transaction, the time from the result of the statement before it to its own; BEGIN and COMMIT are listed
    /// too. `None` for a single statement, and where queries share Syncs.
    pub took_us: Option<LatencySummary>,
}

/// The settings of the load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LoadShape {
    /// The number of connections.
    pub connections: usize,
    /// Queries in flight on each connection, at most.
    pub pipeline_depth: usize,
    /// Queries that shared a Sync, at most; if more than 1, they ran read-only.
    pub sync_every: NonZero<usize>,
    /// How statements were sent.
    pub protocol: Protocol,
    /// Why the queries went through the driver; `None` if they went over the lane beside it, which takes less of the
    /// client's CPU.
    pub through_driver: Option<Cow<'static, str>>,
    /// The seed of the random arguments.
    pub seed: u64,
    /// The offered rate, in queries per second; `None` in a closed loop.
    pub rate: Option<f64>,
    /// How they were spread over time; `None` in a closed loop.
    pub arrivals: Option<Arrivals>,
    /// How long queries were sent before the measurement, in seconds.
    pub warm_up_seconds: f64,
    /// How many times a query was sent again after a serialization failure or a deadlock, at most.
    pub retries: u64,
    /// Whether results were compared with those of the same queries run beforehand.
    pub verify: bool,
    /// The number of hosts that the connections went to.
    pub hosts: usize,
}

/// How the queries of an open loop were sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OfferedReport {
    /// Queries that were due.
    pub due: u64,
    /// Queries that were due but not sent when the time was up.
    pub unsent: u64,
    /// Whether the rate was kept: all queries were sent but for 0.1 %, or a few in the last moment of the run, and nearly
    /// all succeeded in time.
    pub kept: bool,
    /// How late the pacing thread itself released queries, in microseconds: the 99th percentile.
    pub lag_p99_us: f64,
    /// How late the pacing thread itself released queries, in microseconds: the maximum.
    pub lag_max_us: f64,
    /// How late queries were sent, including the wait for a connection to have room, in microseconds: the 99th
    /// percentile.
    pub late_p99_us: f64,
    /// How late queries were sent, including the wait for a connection to have room, in microseconds: the maximum.
    pub late_max_us: f64,
}

/// The figures of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConnectionReport {
    /// Its number, from 1.
    pub connection: usize,
    /// Queries that succeeded.
    pub answered: u64,
    /// Queries that failed.
    pub errors: u64,
    /// Its response times; `None` without latencies, or if no query succeeded.
    pub response_us: Option<LatencySummary>,
}

/// The figures of one host, of several over which connections were spread.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostReport {
    /// The host as the connection settings name it: a name, an IP address, or the directory of the Unix socket.
    pub host: String,
    /// The IP address that was connected to; `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// The TCP port, or the number in the name of the Unix socket.
    pub port: u16,
    /// Whether it was a primary or a standby before the run; `None` if it was not reached.
    pub role: Option<HostRole>,
    /// The same at the end of the run; `None` if the host was not reached then. A standby may have been promoted.
    pub role_at_end: Option<HostRole>,
    /// The number of connections at the start of the run.
    pub connections: usize,
    /// Connections opened to this host during the run, in the place of lost ones to this host or to others.
    pub reconnections: u64,
    /// Queries that succeeded or failed.
    pub queries: u64,
    /// Queries that failed, or were lost with their connection.
    pub errors: u64,
    /// Successful queries per second of the whole run.
    pub queries_per_second: f64,
    /// Its response times; `None` without latencies, or if no query succeeded.
    pub response_us: Option<LatencySummary>,
    /// How many of its results were as expected; `None` if they were not compared.
    pub checked: Option<ResultCheck>,
    /// How far it was behind; `None` for a primary, and where it is not known.
    pub lag: Option<LagReport>,
    /// What bounded the queries of this host; `None` if it was not used.
    pub bound: Option<Verdict>,
    /// Why it was not used; `None` if it was.
    pub problem: Option<String>,
}

/// What a server is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum HostRole {
    /// It accepts changes.
    Primary,
    /// It replays the changes of another server.
    Standby,
}

impl HostRole {
    pub(super) fn new(is_standby: bool) -> HostRole {
        if is_standby { HostRole::Standby } else { HostRole::Primary }
    }
}

impl HostReport {
    /// The report of a host that is not used.
    pub(super) fn unusable(host: &UnusableHost) -> HostReport {
        let UnusableHost { endpoint: Endpoint { host, address, port }, problem } = host.clone();
        HostReport {
            host,
            address,
            port,
            role: None,
            role_at_end: None,
            connections: 0,
            reconnections: 0,
            queries: 0,
            errors: 0,
            queries_per_second: 0.0,
            response_us: None,
            checked: None,
            lag: None,
            bound: None,
            problem: Some(problem),
        }
    }

    /// Its address, as errors write it.
    pub fn endpoint(&self) -> String {
        Endpoint { host: self.host.clone(), address: self.address, port: self.port }.to_string()
    }
}

/// How many results were as expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ResultCheck {
    /// Results that were compared.
    pub compared: u64,
    /// Results that were not as expected.
    pub different: u64,
    /// The first result that was not as expected, and how it differs; `None` if there is none.
    pub first_difference: Option<String>,
}

impl ResultCheck {
    /// What `stats` count.
    pub(super) fn new(stats: &RunStats) -> ResultCheck {
        let RunStats { compared, different, first_difference, .. } = stats;
        ResultCheck { compared: *compared, different: *different, first_difference: first_difference.clone() }
    }
}

/// What the queries of a run are called.
pub(super) fn queries_or_transactions(run: &RunReport) -> &'static str {
    if run.workloads.iter().all(|workload| workload.is_transaction) { "transactions" } else { "queries" }
}

impl RunReport {
    /// Why the run counts as failed, one line per reason; empty if it does not. Up to `max_errors` failed queries are
    /// accepted, none without it.
    pub fn failures(&self, max_errors: Option<u64>) -> Vec<String> {
        let mut failures = Vec::new();
        if self.errors > max_errors.unwrap_or(0) {
            let many = queries_or_transactions(self);
            failures.push(match max_errors {
                None => format!("{} of {} {many} failed", self.errors, self.queries),
                Some(most) => {
                    format!("{} {many} failed, more than --max-errors {most} allows", self.errors)
                }
            });
        }
        if let Some(ResultCheck { compared, different, first_difference: Some(first) }) = &self.checked {
            failures.push(format!("{different} of {compared} results were not as expected; first: {first}"));
        }
        failures.extend(self.comparison.iter().flat_map(|comparison| comparison.failures.clone()));
        failures
    }
}

/// Runs compared with others, the baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Comparison {
    /// The file of the baseline, or what the runs were interleaved with.
    pub baseline: String,
    /// What the intervals allow for.
    pub basis: Basis,
    /// The number of runs.
    pub runs: usize,
    /// The number of runs of the baseline.
    pub baseline_runs: usize,
    /// What the comparison cannot tell; `None` if it can tell change from noise.
    pub note: Option<String>,
    /// Settings that differ, with both values, and other differences that may explain one in the figures.
    pub different_settings: Vec<String>,
    /// The figures of both.
    pub ratios: Vec<Ratio>,
    /// Whether each condition of `--fail-if` holds.
    pub conditions: Vec<Condition>,
    /// The thresholds that were exceeded, one sentence each.
    pub failures: Vec<String>,
}

/// A condition of `--fail-if`, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Condition {
    /// The condition, such as `slower:5%`.
    pub condition: String,
    /// The name of the figure that is judged.
    pub figure: &'static str,
    /// The outcome.
    pub outcome: ConditionOutcome,
    /// How much worse than the baseline the figure is, in percent; negative if it is better. `None` when there is not
    /// enough data.
    #[serde(rename = "worse_percent")]
    pub worse: Option<f64>,
    /// The 95 % confidence interval of that, in percent; `None` when there is not enough data.
    #[serde(rename = "worse_percent_interval")]
    pub worse_interval: Option<Interval>,
}

/// What became of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ConditionOutcome {
    /// `passed`: the whole interval is within the limit.
    Passed,
    /// `failed`: the figure is significantly worse, by more than the limit.
    Failed,
    /// `not-shown`: the interval includes more than the limit, but that the figure is that much worse is not shown. It
    /// fails nothing.
    NotShown,
    /// `not-enough-data`: it cannot be judged, which counts as a failure.
    NotEnoughData,
}

/// What the intervals of a comparison allow for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// `within-runs`: what varied within a run. One side has a single run, so nothing is known of what differs from run
    /// to run, and no difference is significant.
    WithinRuns,
    /// `between-runs`: what differed between the runs of each side.
    BetweenRuns,
    /// `pairs`: what differed between pairs of runs, one of each side, that were made next to each other.
    Pairs,
}

/// One figure of some runs and of their baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ratio {
    /// The name of the figure: `rate` in queries per second, or `mean`, `p50` … `p99.9` of the response times in
    /// microseconds.
    pub figure: &'static str,
    /// Its value in the baseline; of several runs, their geometric mean.
    pub baseline: f64,
    /// Its value in this run; of several runs, their geometric mean.
    pub now: f64,
    /// The value in this run divided by that in the baseline.
    pub ratio: f64,
    /// The 95 % confidence interval of the ratio; of several runs, so wide that those of all figures hold together.
    /// `None` when there is not enough data.
    pub interval: Option<Interval>,
    /// Whether the difference is significant: the interval excludes 1, and allows for the differences between runs.
    pub significant: bool,
}

/// An interval that is wider than this factor in either direction tells nothing.
const WIDEST: f64 = 100.0;

impl Ratio {
    /// Whether the interval is so wide that it tells nothing, as of two or three runs that differ.
    pub fn is_vague(&self) -> bool {
        let is_vague =
            |interval: Interval| interval.low * WIDEST < self.ratio || interval.high > self.ratio * WIDEST;
        self.interval.is_some_and(is_vague)
    }
}
