//! What a search of several runs varies, and its report.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::Error;
use crate::count::parse_count;
use crate::postgres::server::ServerFacts;
use crate::query::report::TableReport;

/// What the runs of a search vary.
#[derive(Debug, Clone, PartialEq)]
pub enum Search {
    /// Every combination of the values of one or two settings.
    Sweep(Vec<Axis>),
    /// The rates of an open loop, in ascending order.
    Ramp(Ramp),
    /// The rate of an open loop, to find the highest at which the 99th percentile of the response times is within this
    /// bound.
    FindMax(Duration),
}

/// A setting, and the values it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Axis {
    /// The setting.
    pub setting: Setting,
    /// Its values: at least one, each at least 1.
    pub values: Vec<usize>,
}

/// A setting that may be swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// `connections`: the number of connections.
    Connections,
    /// `pipeline-depth`: queries in flight on each connection.
    PipelineDepth,
    /// `rate`: queries per second of an open loop.
    Rate,
}

/// The range of valid rates, in queries per second.
pub const RATES: RangeInclusive<f64> = 0.001..=1e8;

/// `from:to:step`: a series of rates, in queries per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    from: f64,
    to: f64,
    step: f64,
}

/// The result of a search.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SearchReport {
    /// `query`.
    pub command: &'static str,
    /// `sweep`, `ramp` or `find-max`.
    pub search: &'static str,
    /// The names of the workloads.
    pub workloads: Vec<String>,
    /// Whether what is counted are transactions.
    #[serde(skip)]
    pub counts_transactions: bool,
    /// The settings of a sweep; empty for other searches.
    pub axes: Vec<Axis>,
    /// Every run, in the order of the settings; of a find-max, by rate.
    pub points: Vec<SearchPoint>,
    /// The bound of a find-max, in microseconds; `None` for other searches.
    pub p99_bound_us: Option<f64>,
    /// The highest rate of a find-max that held the bound, in queries per second; `None` if none did.
    pub highest_rate: Option<f64>,
    /// Why the search ended early; `None` if it finished.
    #[serde(serialize_with = "crate::error::as_text")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub ended_by: Option<Error>,
    /// The configured table; `None` if no workload depends on it.
    pub table: Option<TableReport>,
    /// The server, and its settings that affect timings.
    pub server: ServerFacts,
}

/// One run of a search.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SearchPoint {
    /// The number of connections.
    pub connections: usize,
    /// Queries in flight on each connection.
    pub pipeline_depth: usize,
    /// The offered rate, in queries per second; `None` in a closed loop.
    pub rate: Option<f64>,
    /// Queries per second that succeeded.
    pub queries_per_second: f64,
    /// The mean response time, in microseconds; `None` if no query succeeded.
    pub mean_us: Option<f64>,
    /// The 99th percentile of the response times, in microseconds; `None` if no query succeeded.
    pub p99_us: Option<f64>,
    /// Queries that failed.
    pub errors: u64,
    /// Results that were not as expected.
    pub different: u64,
    /// The first result that was not as expected, and how it differs; `None` if there is none.
    pub first_difference: Option<String>,
    /// Queries that were due but not sent in time.
    pub unsent: u64,
    /// Whether the rate was kept, as `offered.kept` of a single run; `None` in a closed loop.
    pub kept: Option<bool>,
    /// Whether the run of a find-max held the bound; `None` for other searches.
    pub held: Option<bool>,
    /// What bounded the run, in one word, as `bound.by` of a single run.
    pub bound: &'static str,
    /// Whether other programs used much of this machine's CPU and left none idle, and so may have lengthened the response
    /// times.
    pub disturbed: bool,
}

impl SearchReport {
    /// Why the search counts as failed, one line per reason; empty if it does not. Up to `max_errors` failed queries
    /// per run are accepted, none without it.
    pub fn failures(&self, max_errors: Option<u64>) -> Vec<String> {
        let errors: u64 = self.points.iter().map(|point| point.errors).sum();
        let most = max_errors.unwrap_or(0);
        let mut failures = Vec::new();
        if self.points.iter().any(|point| point.errors > most) {
            let many = if self.counts_transactions { "transactions" } else { "queries" };
            failures.push(format!("{errors} {many} failed in all runs together"));
        }
        let different: u64 = self.points.iter().map(|point| point.different).sum();
        if let Some(first) = self.points.iter().find_map(|point| point.first_difference.as_ref()) {
            failures.push(format!("{different} results were not as expected; first: {first}"));
        }
        failures
    }
}

impl FromStr for Axis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected connections=1,2,4, pipeline-depth=1,8 or rate=100,200, not `{text}`");
        let (setting, values) = text
            .split_once('=')
            .ok_or_else(|| format!("{}; the names of workloads come before --sweep", expected()))?;
        let setting = match setting {
            "connections" => Setting::Connections,
            "pipeline-depth" => Setting::PipelineDepth,
            "rate" => Setting::Rate,
            _ => return Err(expected()),
        };
        let values: Option<Vec<usize>> = values
            .split(',')
            .map(|value| usize::try_from(parse_count(value).ok()?).ok().filter(|value| *value > 0))
            .collect();
        Ok(Axis { setting, values: values.ok_or_else(expected)? })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Setting::Connections => "connections",
            Setting::PipelineDepth => "pipeline-depth",
            Setting::Rate => "rate",
        })
    }
}

impl FromStr for Ramp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().or_else(|| Some(parse_count(text).ok()? as f64));
        let numbers: Option<Vec<f64>> = text.split(':').map(number).collect();
        match numbers.as_deref() {
            Some(&[from, to, step])
                if RATES.contains(&from)
                    && RATES.contains(&to)
                    && to >= from
                    && step > 0.0
                    && (to - from) / step < 1000.0 =>
            {
                Ok(Ramp { from, to, step })
            }
            _ => Err(format!(
                "expected from:to:step, at most 1,000 ascending rates from 0.001 to 100000000 per second, not `{text}`"
            )),
        }
    }
}

impl Ramp {
    /// The rates, in ascending order; `to` is the last if the steps reach it.
    pub fn rates(self) -> impl Iterator<Item = f64> {
        let steps = ((self.to - self.from) / self.step + 1e-9) as u32;
        (0..=steps).map(move |step| self.from + f64::from(step) * self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_and_ramps_are_parsed() {
        let axis: Axis = "pipeline-depth=1,8,64".parse().unwrap();
        assert_eq!(axis, Axis { setting: Setting::PipelineDepth, values: vec![1, 8, 64] });
        for wrong in ["depth=1", "connections", "connections=", "connections=1,,2", "connections=0"] {
            assert!(wrong.parse::<Axis>().is_err(), "{wrong}");
        }
        let ramp: Ramp = "100:1000:300".parse().unwrap();
        assert_eq!(ramp.rates().collect::<Vec<_>>(), [100.0, 400.0, 700.0, 1000.0]);
        for wrong in ["1:2", "0:5:1", "5:1:1", "1:5:0", "1:inf:1", "a:b:c"] {
            assert!(wrong.parse::<Ramp>().is_err(), "{wrong}");
        }
    }
}
