//! Saved runs of several machines over the same time, merged to one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::postgres::server::ServerFacts;
use crate::query::baseline::{ClientMachine, Histogram, Samples, SavedRun};
use crate::query::measure::batch_means::{BatchMeans, Interval, share};
use crate::query::measure::latency::{Latencies, LatencySummary};
use crate::query::measure::run_stats::{ErrorCount, summary};
use crate::query::measure::timeline::Second;
use crate::query::report::{LoadShape, ResultCheck, StatementReport, WorkloadReport};
use crate::query::workload::spec::ArgSpec;
use crate::{Error, Result};

/// Runs of several machines as one: counts and latencies are those of the whole runs, rates those of the time in which
/// all of them ran.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MergedReport {
    /// `report`.
    pub command: &'static str,
    /// The runs, in the order in which they were named.
    pub runs: Vec<MergedRun>,
    /// When the last of the runs began, in UTC by the clock of its machine, to the millisecond.
    pub common_from: String,
    /// When the first of the runs ended.
    pub common_to: String,
    /// The time from the one to the other, in seconds.
    pub common_seconds: f64,
    /// The workloads, each with its own figures.
    pub workloads: Vec<WorkloadReport>,
    /// Queries that succeeded or failed.
    pub queries: u64,
    /// Queries that failed, or were lost with their connection.
    pub errors: u64,
    /// The failed queries by SQLSTATE, with the first message of the first run that has any.
    pub errors_by_sqlstate: BTreeMap<String, ErrorCount>,
    /// How many times a query was sent again, after a serialization failure or a deadlock.
    pub retries: u64,
    /// How many lost connections were replaced.
    pub reconnections: u64,
    /// Successful queries per second of the common time, of all runs together.
    pub queries_per_second: f64,
    /// The 95 % confidence interval of the rate; `None` when there is not enough data.
    pub rate_interval: Option<Interval>,
    /// Response times; `None` without latencies, or if no query succeeded; so for the other times, which are those of the
    /// report of a run.
    pub response_us: Option<LatencySummary>,
    /// Service times; `None` in a closed loop.
    pub service_us: Option<LatencySummary>,
    /// The part of the response time before the server could begin; `None` with one query in flight in a closed loop.
    pub waiting_us: Option<LatencySummary>,
    /// The rest of the response time; `None` where `waiting_us` is.
    pub server_us: Option<LatencySummary>,
    /// The number of connections of all runs.
    pub connections: usize,
    /// The rate that all runs offered together, in queries per second; `None` in a closed loop.
    pub rate: Option<f64>,
    /// Whether every run kept its rate; `None` in a closed loop.
    pub kept: Option<bool>,
    /// How many results were as expected; `None` if they were not compared.
    pub checked: Option<ResultCheck>,
    /// What the figures do not show; `None` if there is nothing to say.
    pub note: Option<String>,
}

/// One of the merged runs.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MergedRun {
    /// Its file.
    pub file: String,
    /// Where it was measured.
    pub environment: ClientMachine,
    /// When it began, in UTC by the clock of its machine, to the millisecond; so for its end.
    pub started_at: String,
    /// When its last result arrived.
    pub ended_at: String,
    /// The settings of its load.
    pub load: LoadShape,
    /// Queries that succeeded or failed.
    pub queries: u64,
    /// Queries that failed, or were lost with their connection.
    pub errors: u64,
    /// Successful queries per second of the whole run.
    pub queries_per_second: f64,
    /// Successful queries per second of the common time.
    pub common_queries_per_second: f64,
    /// What bounded it.
    pub bound: String,
    /// Its server, of several hosts the first.
    pub server: ServerFacts,
}

/// What merging needs of a run's report.
#[derive(Debug, Deserialize)]
struct RunPart {
    started_at: String,
    ended_at: String,
    workloads: Vec<WorkloadPart>,
    queries: u64,
    errors: u64,
    errors_by_sqlstate: BTreeMap<String, ErrorCount>,
    retries: u64,
    reconnections: u64,
    queries_per_second: f64,
    load: LoadShape,
    offered: Option<OfferedPart>,
    series: Vec<Second>,
    checked: Option<ResultCheck>,
    bound: BoundPart,
    server: ServerFacts,
}

#[derive(Debug, Deserialize)]
struct OfferedPart {
    kept: bool,
}

#[derive(Debug, Deserialize)]
struct BoundPart {
    sentence: String,
}

#[derive(Debug, Deserialize)]
struct WorkloadPart {
    name: String,
    weight: u32,
    is_transaction: bool,
    statements: Vec<StatementPart>,
    answered: u64,
    errors: u64,
}

#[derive(Debug, Deserialize)]
struct StatementPart {
    sql: String,
    args: Vec<ArgSpec>,
}

/// A run to be merged.
struct Part<'a> {
    file: &'a str,
    environment: &'a ClientMachine,
    samples: &'a Samples,
    report: RunPart,
    /// Its beginning and its end.
    time: Range<SystemTime>,
}

/// Settings that may differ: what the machines do adds up, or is their own affair.
const MAY_DIFFER: [&str; 9] =
    ["connections", "rate", "seed", "hosts", "host", "address", "port", "role", "standby"];

impl MergedReport {
    /// Merge `runs`, each with the name of its file.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) for fewer than two, for one that is there twice, or when they are not of
    /// the same work and settings; [`ErrorKind::Input`](crate::ErrorKind::Input) when one lacks what is needed, or there is no time at which
    /// all of them ran.
    pub fn new(runs: &[(String, SavedRun)]) -> Result<MergedReport> {
        let [first, others @ ..] = runs else { return Err(too_few()) };
        if others.is_empty() {
            return Err(too_few());
        }
        let parts = runs.iter().map(Part::new).collect::<Result<Vec<_>>>()?;
        for other in others {
            check_same_settings(first, other)?;
        }
        check_distinct(runs)?;
        let common = common_time(&parts)?;
        let seconds = seconds(common.end.duration_since(common.start));
        let rates: Vec<f64> = parts.iter().map(|part| part.answered_within(&common) / seconds).collect();
        let rate = rates.iter().sum();
        let sum = |count: fn(&RunPart) -> u64| parts.iter().map(|part| count(&part.report)).sum();
        let reports = || parts.iter().map(|part| &part.report);
        let samples: Vec<&Samples> = parts.iter().map(|part| part.samples).collect();
        let time = |samples: fn(&Samples) -> &Histogram, all: &[&Samples]| {
            summary(&added(all.iter().map(|part| samples(part))))
        };
        Ok(MergedReport {
            command: "report",
            common_from: humantime::format_rfc3339_millis(common.start).to_string(),
            common_to: humantime::format_rfc3339_millis(common.end).to_string(),
            common_seconds: seconds,
            workloads: workloads(&parts),
            queries: sum(|report| report.queries),
            errors: sum(|report| report.errors),
            errors_by_sqlstate: errors(&parts),
            retries: sum(|report| report.retries),
            reconnections: sum(|report| report.reconnections),
            queries_per_second: rate,
            rate_interval: slices(&parts, &common).rate_interval(rate),
            response_us: response(&parts, &added(samples.iter().map(|samples| &samples.response_ns))),
            service_us: time(|samples| &samples.service_ns, &samples),
            waiting_us: time(|samples| &samples.waiting_ns, &samples),
            server_us: time(|samples| &samples.server_ns, &samples),
            connections: reports().map(|report| report.load.connections).sum(),
            rate: reports().map(|report| report.load.rate).sum(),
            kept: reports()
                .map(|report| report.offered.as_ref().map(|offered| offered.kept))
                .reduce(|all, kept| Some(all? && kept?))
                .flatten(),
            checked: checked(&parts),
            note: note(&parts),
            runs: parts.into_iter().zip(rates).map(|(part, rate)| part.into_run(rate)).collect(),
        })
    }
}

impl<'a> Part<'a> {
    fn new((file, run): &'a (String, SavedRun)) -> Result<Part<'a>> {
        if !run.report["started_at"].is_string() {
            return Err(Error::input(format!(
                "{file} was saved by postgres-etl {}, which did not save when a run began",
                run.postgres_etl
            ))
            .with_help("measure again with this version: postgres-etl query --save FILE"));
        }
        let incomplete = |error: &dyn std::fmt::Display| {
            Error::input(format!("{file} is not a complete saved run: {error}"))
                .with_help("make one: postgres-etl query --save FILE")
        };
        let report: RunPart =
            serde_json::from_value(run.report.clone()).map_err(|error| incomplete(&error))?;
        let parse = |time: &str| humantime::parse_rfc3339(time).map_err(|error| incomplete(&error));
        let time = parse(&report.started_at)?..parse(&report.ended_at)?;
        Ok(Part { file, environment: &run.environment, samples: &run.samples, report, time })
    }

    /// `span` in milliseconds since the beginning of this run.
    fn since_start(&self, span: &Range<SystemTime>) -> Range<f64> {
        let since = |time: SystemTime| match time.duration_since(self.time.start) {
            Ok(after) => after.as_secs_f64() * 1e3,
            Err(before) => before.duration().as_secs_f64() * -1e3,
        };
        since(span.start)..since(span.end)
    }

    /// Its successful queries in the time `span`, by its slices of time; without latencies, by its seconds.
    fn answered_within(&self, span: &Range<SystemTime>) -> f64 {
        let (span, end) = (self.since_start(span), self.since_start(&self.time).end);
        if !self.samples.response_ns.is_empty() {
            return self.samples.batch_means.count_within(span, end);
        }
        let part = |second: &Second| {
            let begin = second.second as f64 * 1e3;
            second.answered as f64 * share(begin..(begin + 1e3).min(end), &span)
        };
        self.report.series.iter().map(part).sum()
    }

    /// The run in the report, with its rate in the common time.
    fn into_run(self, common_queries_per_second: f64) -> MergedRun {
        let RunPart {
            started_at, ended_at, queries, errors, queries_per_second, load, bound, server, ..
        } = self.report;
        MergedRun {
            file: self.file.to_owned(),
            environment: self.environment.clone(),
            started_at,
            ended_at,
            load,
            queries,
            errors,
            queries_per_second,
            common_queries_per_second,
            bound: bound.sentence,
            server,
        }
    }
}

fn too_few() -> Error {
    Error::usage("--merge needs two runs or more").with_help("name the file that each machine saved")
}

/// Check that no run of `runs` is there twice, as it would be counted twice.
fn check_distinct(runs: &[(String, SavedRun)]) -> Result<()> {
    for (index, (file, run)) in runs.iter().enumerate() {
        if let Some((twin, _)) = runs[..index].iter().find(|(_, earlier)| earlier.report == run.report) {
            return Err(Error::usage(format!("{twin} and {file} hold the same run"))
                .with_help("name the file of each machine once"));
        }
    }
    Ok(())
}

/// Check that both runs, each with the name of its file, sent the same statements in the same way, to servers that are set
/// up alike.
fn check_same_settings(
    (file, run): &(String, SavedRun),
    (other_file, other): &(String, SavedRun),
) -> Result<()> {
    let differ = |what: &str, here: &Value, there: &Value| {
        let show = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let (here, there) = (show(here), show(there));
        Err(Error::usage(format!(
            "{file} and {other_file} cannot be merged: {what} is {here} in the first, and {there} in the second"
        ))
        .with_help(
            "measure on all machines with the same flags; only the connections, the rate, the seed and the host may differ",
        ))
    };
    for section in ["load", "server"] {
        let keys = run.report[section].as_object().into_iter().flat_map(|section| section.keys());
        for key in keys.filter(|key| !MAY_DIFFER.contains(&key.as_str())) {
            let (here, there) = (&run.report[section][key], &other.report[section][key]);
            if here != there {
                return differ(key, here, there);
            }
        }
    }
    for pointer in ["/table/name", "/table/rows"] {
        let value = |run: &'_ SavedRun| run.report.pointer(pointer).cloned().unwrap_or_default();
        if value(run) != value(other) {
            return differ(&pointer[1..].replace('/', " "), &value(run), &value(other));
        }
    }
    let (here, there) = (work(run), work(other));
    if let Some((here, there)) = here.iter().zip(&there).find(|(here, there)| here != there) {
        return differ("a workload", here, there);
    }
    if here.len() != there.len() {
        return differ("the number of workloads", &here.len().into(), &there.len().into());
    }
    Ok(())
}

/// What each workload of `run` is, without its figures.
fn work(run: &SavedRun) -> Vec<Value> {
    let workloads = run.report["workloads"].as_array().into_iter().flatten();
    let describe = |workload: &Value| {
        let statements = workload["statements"].as_array().into_iter().flatten();
        let statements: Vec<Value> =
            statements.map(|part| serde_json::json!({ "sql": part["sql"], "args": part["args"] })).collect();
        serde_json::json!({ "name": workload["name"], "weight": workload["weight"], "statements": statements })
    };
    workloads.map(describe).collect()
}

/// The time in which all of `parts` ran.
fn common_time(parts: &[Part<'_>]) -> Result<Range<SystemTime>> {
    let last = parts.iter().max_by_key(|part| part.time.start).expect("there are runs");
    let first = parts.iter().min_by_key(|part| part.time.end).expect("there are runs");
    if last.time.start < first.time.end {
        return Ok(last.time.start..first.time.end);
    }
    Err(Error::input(format!(
        "the runs cannot be merged: {} began at {}, after {} had ended at {}",
        last.file, last.report.started_at, first.file, first.report.ended_at
    ))
    .with_help("start them at the same time, and keep the clocks of the machines synchronised"))
}

fn seconds(duration: Result<Duration, std::time::SystemTimeError>) -> f64 {
    duration.expect("the common time ends after its beginning").as_secs_f64()
}

/// The sum of `histograms`.
fn added<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Latencies {
    let mut sum = Latencies::default();
    for histogram in histograms {
        sum.add(&Latencies::from_counts(histogram));
    }
    sum
}

/// The results of all `parts` in the time `span`, in slices.
fn slices(parts: &[Part<'_>], span: &Range<SystemTime>) -> BatchMeans {
    let mut sum = BatchMeans::default();
    for part in parts {
        let Range { start, end } = part.since_start(span);
        sum.add(&part.samples.batch_means.within(start.round() as i64..end.round() as i64));
    }
    sum
}

/// The summary of the response times of `parts`.
fn response(parts: &[Part<'_>], latencies: &Latencies) -> Option<LatencySummary> {
    let start = parts.iter().map(|part| part.time.start).min()?;
    let end = parts.iter().map(|part| part.time.end).max()?;
    let summary = summary(latencies)?;
    Some(LatencySummary {
        mean_interval: slices(parts, &(start..end)).mean_interval(summary.mean),
        ..summary
    })
}

/// The workloads of `parts`, which all have the same.
fn workloads(parts: &[Part<'_>]) -> Vec<WorkloadReport> {
    let is_alone = parts.iter().all(|part| part.samples.workloads.is_empty());
    let of_workload = |(index, workload): (usize, &WorkloadPart)| {
        let samples: Vec<_> = parts.iter().filter_map(|part| part.samples.workloads.get(index)).collect();
        let statement = |(number, statement): (usize, &StatementPart)| {
            let times = samples.iter().filter_map(|samples| samples.statements_ns.get(number));
            let StatementPart { sql, args } = statement;
            StatementReport { sql: sql.clone(), args: args.clone(), took_us: summary(&added(times)) }
        };
        let same = || parts.iter().map(|part| &part.report.workloads[index]);
        let response = if is_alone {
            added(parts.iter().map(|part| &part.samples.response_ns))
        } else {
            added(samples.iter().map(|samples| &samples.response_ns))
        };
        WorkloadReport {
            name: workload.name.clone(),
            weight: workload.weight,
            is_transaction: workload.is_transaction,
            statements: workload.statements.iter().enumerate().map(statement).collect(),
            answered: same().map(|workload| workload.answered).sum(),
            errors: same().map(|workload| workload.errors).sum(),
            response_us: summary(&response),
        }
    };
    parts[0].report.workloads.iter().enumerate().map(of_workload).collect()
}

fn errors(parts: &[Part<'_>]) -> BTreeMap<String, ErrorCount> {
    let mut errors: BTreeMap<String, ErrorCount> = BTreeMap::new();
    for (sqlstate, error) in parts.iter().flat_map(|part| &part.report.errors_by_sqlstate) {
        errors
            .entry(sqlstate.clone())
            .and_modify(|count| count.count += error.count)
            .or_insert_with(|| error.clone());
    }
    errors
}

fn checked(parts: &[Part<'_>]) -> Option<ResultCheck> {
    parts.iter().filter_map(|part| part.report.checked.clone()).reduce(|all, one| ResultCheck {
        compared: all.compared + one.compared,
        different: all.different + one.different,
        first_difference: all.first_difference.or(one.first_difference),
    })
}

/// What a reader should know of `parts`.
fn note(parts: &[Part<'_>]) -> Option<String> {
    let seed = parts[0].report.load.seed;
    let draws = parts[0].report.workloads.iter().flat_map(|workload| &workload.statements);
    let draws =
        draws.flat_map(|statement| &statement.args).any(|arg| matches!(arg, ArgSpec::Distribution(_)));
    let same: Vec<&str> =
        parts.iter().filter(|part| part.report.load.seed == seed).map(|part| part.file).collect();
    (draws && same.len() > 1).then(|| {
        format!(
            "{} sent the same arguments in the same order, which a cache favours: give each machine its own --seed",
            same.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn merged_histograms_are_the_histogram_of_all(
            runs in prop::collection::vec(prop::collection::vec(1_u64..1 << 40, 0..200), 1..5)
        ) {
            let mut all = Latencies::default();
            let histograms: Vec<Histogram> = runs.iter().map(|run| {
                let mut own = Latencies::default();
                for nanoseconds in run {
                    own.record(Duration::from_nanos(*nanoseconds));
                    all.record(Duration::from_nanos(*nanoseconds));
                }
                own.counts()
            }).collect();
            let merged = added(histograms.iter());
            prop_assert_eq!(merged.counts(), all.counts());
            prop_assert_eq!(summary(&merged), summary(&all));
        }
    }
}
