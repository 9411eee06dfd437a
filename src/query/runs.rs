//! Several runs of the same work, each on new connections, alone or interleaved with those of another side.

use std::path::Path;
use std::time::Duration;

use crate::query::baseline::{SavedRun, SavedRuns};
use crate::query::comparison::compare;
use crate::query::drive::plan::RunResult;
use crate::query::meter::{OpenMeter, RunShape};
use crate::query::options::MeterSettings;
use crate::query::report::RunReport;
use crate::query::runs_report::{AgainstReport, RunsReport, summaries};
use crate::query::workload::random::RandomStream;
use crate::{Error, Result};

/// SQLSTATE `too_many_connections`: backends of the last run are still ending.
const TOO_MANY_CONNECTIONS: &str = "53300";

/// How often, and for how long in between, a run waits for the backends of the last one to end.
const WAITS: (u32, Duration) = (50, Duration::from_millis(100));

/// One side of a comparison: a meter, and the complete runs that it made.
struct Side<'a> {
    meter: OpenMeter<'a>,
    reports: Vec<RunReport>,
    saved: Vec<SavedRun>,
}

/// How a series of runs ended.
struct Ending {
    interrupted: bool,
    ended_by: Option<Error>,
}

impl<'a> Side<'a> {
    /// A side without runs.
    fn new(meter: OpenMeter<'a>) -> Side<'a> {
        Side { meter, reports: Vec::new(), saved: Vec::new() }
    }

    /// Make one run, which the monitor shows with this `label`. Interrupted, it ends early and is not kept.
    async fn run(&mut self, label: String) -> Result<()> {
        self.meter.label = label;
        let (mut report, run) = self.measure().await?;
        self.meter.disconnect()?;
        if let Some(error) = report.ended_by.take() {
            return Err(error);
        }
        if !report.interrupted {
            self.saved.push(SavedRun::new(&report, &run.total));
            self.reports.push(report);
        }
        Ok(())
    }

    /// Measure, as soon as the server has room for the connections.
    async fn measure(&mut self) -> Result<(RunReport, RunResult)> {
        let shape = RunShape::from_settings(self.meter.settings);
        let mut waits = if self.saved.is_empty() { 0 } else { WAITS.0 };
        loop {
            match self.meter.measure(&shape).await {
                Err(error) if waits > 0 && error.sqlstate() == Some(TOO_MANY_CONNECTIONS) => {
                    waits -= 1;
                    self.meter.disconnect()?;
                    tokio::time::sleep(WAITS.1).await;
                }
                result => return result,
            }
        }
    }
}

impl OpenMeter<'_> {
    /// Make the runs that were requested, and compare them with the saved runs of `baseline`.
    ///
    /// # Errors
    /// When no run was complete, for another reason than an interruption.
    pub(super) async fn runs(
        self,
        baseline: Option<(SavedRuns, &Path)>,
    ) -> Result<(RunsReport, Option<SavedRuns>)> {
        let mut side = Side::new(self);
        let settings = side.meter.settings;
        let ending = series(&mut [&mut side], settings.runs, settings.seed).await?;
        let mut report = report(side.reports, &side.saved, settings, ending);
        if let (Some((baseline, path)), false) = (&baseline, side.saved.is_empty()) {
            let name = path.display().to_string();
            report.comparison = Some(compare(&side.saved, baseline.runs(), false, name, &settings.fail_if));
        }
        Ok((report, SavedRuns::new(side.saved)))
    }

    /// Make the runs that were requested in pairs, one with this meter and one with `other`, which has this `name`, and
    /// compare the two pair by pair.
    ///
    /// # Errors
    /// When no pair was complete, for another reason than an interruption.
    pub(super) async fn interleaved_runs(self, other: OpenMeter<'_>, name: String) -> Result<RunsReport> {
        let (mut side, mut other) = (Side::new(self), Side::new(other));
        let settings = side.meter.settings;
        let ending = series(&mut [&mut side, &mut other], settings.runs, settings.seed).await?;
        let pairs = side.saved.len().min(other.saved.len());
        for side in [&mut side, &mut other] {
            // The first run of a pair whose second is missing.
            side.saved.truncate(pairs);
            side.reports.truncate(pairs);
        }
        let mut report = report(side.reports, &side.saved, settings, ending);
        if pairs > 0 {
            let comparison = compare(&side.saved, &other.saved, true, name.clone(), &settings.fail_if);
            report.comparison = Some(comparison);
        }
        report.against = Some(AgainstReport {
            name,
            was_first: (0..pairs).map(|pair| is_reversed(settings.seed, pair)).collect(),
            figures: summaries(&other.saved),
            runs: other.reports,
        });
        Ok(report)
    }
}

/// The report of `runs`, which were saved as `saved`.
fn report(runs: Vec<RunReport>, saved: &[SavedRun], settings: &MeterSettings, ending: Ending) -> RunsReport {
    RunsReport {
        command: "query",
        interrupted: ending.interrupted,
        ended_by: ending.ended_by,
        requested_runs: settings.runs,
        figures: summaries(saved),
        runs,
        against: None,
        comparison: None,
    }
}

/// Make `runs` runs of each of `sides`, in turn, until one fails or is interrupted.
///
/// # Errors
/// When that was before any run was complete.
async fn series(sides: &mut [&mut Side<'_>], runs: usize, seed: u64) -> Result<Ending> {
    let what = if sides.len() == 1 { "run" } else { "pair" };
    let progress = sides[0].meter.progress;
    for run in 0..runs {
        let is_reversed = sides.len() > 1 && is_reversed(seed, run);
        for turn in 0..sides.len() {
            let side = if is_reversed { 1 - turn } else { turn };
            let result = sides[side].run(format!(", {what} {} of {runs}", run + 1)).await;
            if progress.is_cancelled() {
                return Ok(Ending { interrupted: true, ended_by: None });
            }
            if let Err(error) = result {
                let is_first = sides.iter().all(|side| side.saved.is_empty());
                return if is_first {
                    Err(error)
                } else {
                    Ok(Ending { interrupted: false, ended_by: Some(error) })
                };
            }
        }
    }
    Ok(Ending { interrupted: false, ended_by: None })
}

/// Whether the second side runs first in `pair`.
///
/// Of every two pairs one is reversed, and chance decides which: what comes first as often as the other has no advantage
/// of it, and no rhythm of the machine fits the order.
fn is_reversed(seed: u64, pair: usize) -> bool {
    let is_first_reversed = RandomStream::new(seed, pair as u64 / 2, 0).below(2) == 1;
    is_first_reversed == pair.is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_side_comes_first_equally_often_in_no_fixed_order() {
        let reversed: Vec<bool> = (0..100).map(|pair| is_reversed(1, pair)).collect();
        assert_eq!(reversed.iter().filter(|reversed| **reversed).count(), 50);
        assert!(reversed.chunks(2).any(|two| two[0]) && reversed.chunks(2).any(|two| two[1]));
        let other: Vec<bool> = (0..100).map(|pair| is_reversed(2, pair)).collect();
        assert_ne!(reversed, other);
    }
}
