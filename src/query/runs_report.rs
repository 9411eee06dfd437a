//! The report of several runs of the same work.

use serde::Serialize;

use crate::Error;
use crate::query::baseline::SavedRun;
use crate::query::comparison::{ComparedFigure, FIGURES};
use crate::query::report::{Comparison, ResultCheck, RunReport, queries_or_transactions};
use crate::statistics::median;

/// The report of several runs, each on new connections.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunsReport {
    /// `query`.
    pub command: &'static str,
    /// Whether Ctrl-C or a signal ended the series early; only complete runs are reported.
    pub interrupted: bool,
    /// Why the series ended early; `None` if it did not, or was interrupted.
    #[serde(serialize_with = "crate::error::as_text")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub ended_by: Option<Error>,
    /// The number of runs that were requested; with two sides, the number for each.
    pub requested_runs: usize,
    /// The rate and the response times over all runs.
    pub figures: Vec<FigureSummary>,
    /// The report of each run, in the order in which they were made.
    pub runs: Vec<RunReport>,
    /// The runs that these were interleaved with; `None` if they were made alone.
    pub against: Option<AgainstReport>,
    /// How the runs compare with the interleaved runs or with saved ones; `None` without either, or without a complete
    /// run.
    pub comparison: Option<Comparison>,
}

/// The runs of the other side of a comparison, which were interleaved with those of the report.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgainstReport {
    /// What it ran, or where.
    pub name: String,
    /// For each pair of runs, whether that of this side came first.
    pub was_first: Vec<bool>,
    /// The rate and the response times over all runs.
    pub figures: Vec<FigureSummary>,
    /// The report of each run, in the order in which they were made.
    pub runs: Vec<RunReport>,
}

/// A figure over several runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FigureSummary {
    /// Its name: `rate` in queries per second, or `mean`, `p50` … `p99.9` of the response times in microseconds.
    pub figure: &'static str,
    /// The median of the runs.
    pub median: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// Its value in each run; `None` in a run without latencies, or in which no query succeeded.
    pub values: Vec<Option<f64>>,
}

/// The figures of `runs` that at least one of them has.
pub(super) fn summaries(runs: &[SavedRun]) -> Vec<FigureSummary> {
    let summary = |figure: &ComparedFigure| {
        let values: Vec<Option<f64>> = runs.iter().map(|run| run.figure(figure.pointer)).collect();
        let known: Vec<f64> = values.iter().copied().flatten().collect();
        Some(FigureSummary {
            figure: figure.name,
            median: median(&known)?,
            min: known.iter().copied().fold(f64::INFINITY, f64::min),
            max: known.iter().copied().fold(0.0, f64::max),
            values,
        })
    };
    FIGURES.iter().filter_map(summary).collect()
}

impl RunsReport {
    /// Why the runs count as failed, one line per reason; empty if they do not. Up to `max_errors` failed queries per
    /// run are accepted, none without it.
    pub fn failures(&self, max_errors: Option<u64>) -> Vec<String> {
        let mut failures = Vec::new();
        let all = || self.runs.iter().chain(self.against.iter().flat_map(|against| &against.runs));
        let most = max_errors.unwrap_or(0);
        if all().any(|run| run.errors > most) {
            let (errors, queries) =
                all().fold((0, 0), |(errors, queries), run| (errors + run.errors, queries + run.queries));
            let many = self.runs.first().map_or("queries", queries_or_transactions);
            failures.push(format!("{errors} of {queries} {many} failed in all runs together"));
        }
        let checks = || all().filter_map(|run| run.checked.as_ref());
        let different: u64 = checks().map(|check| check.different).sum();
        let compared: u64 = checks().map(|check| check.compared).sum();
        let first = checks().find_map(|ResultCheck { first_difference, .. }| first_difference.as_ref());
        if let Some(first) = first {
            failures.push(format!("{different} of {compared} results were not as expected; first: {first}"));
        }
        failures.extend(self.comparison.iter().flat_map(|comparison| comparison.failures.clone()));
        failures
    }

    /// Whether all runs that were requested are complete, and each had a result.
    pub fn is_complete(&self) -> bool {
        self.runs.len() == self.requested_runs && self.runs.iter().all(|run| run.queries > run.errors)
    }
}
