//! Several runs in search of something: a map of settings, a ramp of rates, the highest rate that holds a bound.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::Error;
use crate::postgres::server::ServerFacts;
use crate::query::report::TableReport;

/// What is searched.
#[derive(Debug, Clone, PartialEq)]
pub enum Search {
    /// Every combination of these settings; one or two of them.
    Sweep(Vec<Axis>),
    /// Rates, one after the other.
    Ramp(Ramp),
    /// The highest rate at which 99 of 100 response times are within this bound.
    FindMax(Duration),
}

/// A setting, and the values that it is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Axis {
    /// Which setting.
    pub setting: Setting,
    /// At least one; each at least 1.
    pub values: Vec<usize>,
}

/// A setting that may be swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// `connections`
    Connections,
    /// `pipeline-depth`
    PipelineDepth,
    /// `rate`
    Rate,
}

/// Rates that can be asked for: queries a second.
pub const RATES: RangeInclusive<f64> = 0.001..=1e8;

/// `from:to:step` queries a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    from: f64,
    to: f64,
    step: f64,
}

/// What a search came to.
#[derive(Debug, Serialize)]
pub struct SearchReport {
    /// `query`.
    pub command: &'static str,
    /// `sweep`, `ramp` or `find-max`.
    pub search: &'static str,
    /// What was asked.
    pub workloads: Vec<String>,
    /// The settings that were swept.
    pub axes: Vec<Axis>,
    /// Every run, in the order of its settings.
    pub points: Vec<Point>,
    /// Of a find-max: the bound, in microseconds.
    pub p99_bound_us: Option<f64>,
    /// Of a find-max: the highest rate that held it; null if none did.
    pub highest_rate: Option<f64>,
    /// What ended it before it was finished.
    #[serde(serialize_with = "crate::error::as_text")]
    pub ended_by: Option<Error>,
    /// The table whose rows were counted first, where a workload depends on it.
    pub table: Option<TableReport>,
    /// The server, and the settings that a time depends on.
    pub server: ServerFacts,
}

/// One run of a search.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Connections asked over.
    pub connections: usize,
    /// Queries in flight on each of them.
    pub pipeline_depth: usize,
    /// Queries a second that were to be sent; null in a closed loop.
    pub rate: Option<f64>,
    /// Queries a second that were answered.
    pub queries_per_second: f64,
    /// The mean response time; null if nothing was answered.
    pub mean_us: Option<f64>,
    /// 99 of 100 response times are within this; null if nothing was answered.
    pub p99_us: Option<f64>,
    /// Queries refused or lost.
    pub errors: u64,
    /// Results that did not match.
    pub different: u64,
    /// The first of them.
    pub first_difference: Option<String>,
    /// Queries that were due and not sent in time.
    pub unsent: u64,
    /// Whether the rate was kept; null in a closed loop.
    pub kept: Option<bool>,
    /// Of a find-max: whether the bound was held.
    pub held: Option<bool>,
    /// What bounded it, in one word.
    pub bound: &'static str,
}

impl SearchReport {
    /// Why the search is to be taken for a failure, if it is: one line for each reason.
    pub fn failures(&self, max_errors: Option<u64>) -> Vec<String> {
        let errors: u64 = self.points.iter().map(|point| point.errors).sum();
        let most = max_errors.unwrap_or(0);
        let mut failures = Vec::new();
        if self.points.iter().any(|point| point.errors > most) {
            failures.push(format!("{errors} queries failed in all runs"));
        }
        let different: u64 = self.points.iter().map(|point| point.different).sum();
        if let Some(first) = self.points.iter().find_map(|point| point.first_difference.as_ref()) {
            failures.push(format!("{different} results did not match; the first: {first}"));
        }
        failures
    }
}

impl FromStr for Axis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected connections=1,2,4, pipeline-depth=1,8 or rate=100,200, not `{text}`");
        let (setting, values) = text.split_once('=').ok_or_else(expected)?;
        let setting = match setting {
            "connections" => Setting::Connections,
            "pipeline-depth" => Setting::PipelineDepth,
            "rate" => Setting::Rate,
            _ => return Err(expected()),
        };
        let values: Option<Vec<usize>> =
            values.split(',').map(|value| value.parse().ok().filter(|value| *value > 0)).collect();
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
        let numbers: Option<Vec<f64>> = text.split(':').map(|number| number.parse().ok()).collect();
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
                "expected from:to:step, up to 1,000 rates that rise from 0.001 to 100000000 a second, not `{text}`"
            )),
        }
    }
}

impl Ramp {
    /// The rates, the last one included.
    pub fn rates(self) -> impl Iterator<Item = f64> {
        let steps = ((self.to - self.from) / self.step + 1e-9) as u32;
        (0..=steps).map(move |step| self.from + f64::from(step) * self.step)
    }
}

/// Walks towards the highest rate that holds a bound, by halving.
///
/// It starts from half of the rate that the server is known to reach in a closed loop, looks above while the bound is held, and
/// then between the highest that held and the lowest that did not.
#[derive(Debug)]
pub(super) struct RateSearch {
    next: f64,
    lowest: f64,
    held: Option<f64>,
    failed: Option<f64>,
    steps: u32,
}

/// The rate is known to so much.
const EXACT: f64 = 0.03;

/// After so many steps nothing would come of more.
const MOST_STEPS: u32 = 16;

impl RateSearch {
    /// Begin at a half of `capacity` queries a second, and try none below `lowest`.
    pub(super) fn new(capacity: f64, lowest: f64) -> RateSearch {
        RateSearch { next: (capacity / 2.0).max(lowest), lowest, held: None, failed: None, steps: 0 }
    }

    /// The rate to try; `None` when the answer is near enough.
    pub(super) fn next(&self) -> Option<f64> {
        let is_near = match (self.held, self.failed) {
            (Some(held), Some(failed)) => failed / held < 1.0 + EXACT,
            (None, Some(failed)) => failed <= self.lowest,
            _ => false,
        };
        (!is_near && self.steps < MOST_STEPS).then_some(self.next)
    }

    /// Note whether `rate` held the bound.
    pub(super) fn tell(&mut self, rate: f64, has_held: bool) {
        self.steps += 1;
        let side = if has_held { &mut self.held } else { &mut self.failed };
        *side = Some(rate);
        self.next = match (self.held, self.failed) {
            (Some(held), Some(failed)) => f64::midpoint(held, failed),
            (Some(held), None) => held * 1.5,
            (None, Some(failed)) => (failed / 4.0).max(self.lowest),
            (None, None) => unreachable!("one was just told"),
        };
    }

    /// The highest rate that held.
    pub(super) fn highest(&self) -> Option<f64> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_and_ramps_are_read() {
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

    #[test]
    fn bisection_finds_the_edge() {
        for (capacity, edge) in [(1000.0, 800.0), (1000.0, 2500.0), (1000.0, 3.0), (10.0, 9.0)] {
            let mut search = RateSearch::new(capacity, 1.0);
            while let Some(rate) = search.next() {
                search.tell(rate, rate <= edge);
            }
            let found = search.highest().unwrap();
            assert!(found <= edge && found > edge * 0.9, "{found} of {edge}");
        }
        let mut hopeless = RateSearch::new(100.0, 1.0);
        while let Some(rate) = hopeless.next() {
            hopeless.tell(rate, false);
        }
        assert_eq!(hopeless.highest(), None);
    }
}
