//! The runs of a search: a map of settings, a ramp of rates, or the highest rate that holds a bound.

use std::cmp::Ordering;
use std::time::Instant;

use crate::query::meter::{OpenMeter, RunShape};
use crate::query::monitor::MeasuredPoint;
use crate::query::rate_search::{MOST_STEPS, RateSearch};
use crate::query::search::{Axis, Search, SearchPoint, SearchReport, Setting};
use crate::{Error, Result};

impl OpenMeter<'_> {
    /// Make the runs of `search`, and report all that finished, whatever ends the search.
    pub(super) async fn search(&mut self, search: &Search) -> Result<SearchReport> {
        let base = RunShape::from_settings(self.settings);
        let mut report = SearchReport {
            command: "query",
            search: match search {
                Search::Sweep(_) => "sweep",
                Search::Ramp(_) => "ramp",
                Search::FindMax(_) => "find-max",
            },
            workloads: self.settings.workloads.iter().map(|workload| workload.name.clone()).collect(),
            counts_transactions: self.counts_transactions(),
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
            server: self.hosts.server().clone(),
        };
        if let Err(error) = self.search_into(&mut report, search, base).await {
            report.ended_by = Some(error);
        }
        report.points.sort_by(|a, b| match search {
            Search::FindMax(_) => a.rate.unwrap_or(0.0).total_cmp(&b.rate.unwrap_or(0.0)),
            Search::Sweep(_) | Search::Ramp(_) => Ordering::Equal,
        });
        Ok(report)
    }

    /// Make the runs of `search`, and add each to `report`.
    async fn search_into(
        &mut self,
        report: &mut SearchReport,
        search: &Search,
        base: RunShape,
    ) -> Result<()> {
        let at = |rate: f64| RunShape { rate: Some(rate), ..base };
        let bound = match search {
            Search::Sweep(axes) => return self.each(report, combinations(base, axes)).await,
            Search::Ramp(ramp) => return self.each(report, ramp.rates().map(at).collect()).await,
            Search::FindMax(bound) => bound,
        };
        let bound_us = bound.as_secs_f64() * 1e6;
        let series =
            Series { started: Instant::now(), at_most: 1 + MOST_STEPS as usize, may_end_earlier: true };
        let capacity = self.point(&series, &RunShape { rate: None, ..base }, report, None).await?;
        // At a lower rate a run would have fewer than two queries.
        let lowest = self.settings.limits.duration.map_or(1.0, |step| 2.0 / step.as_secs_f64());
        let mut search = RateSearch::new(capacity, lowest.clamp(0.001, 1.0));
        while let Some(rate) = search.next() {
            self.point(&series, &at(rate), report, Some(bound_us)).await?;
            let held = report.points.last().and_then(|point| point.held) == Some(true);
            search.record(rate, held);
            report.highest_rate = search.highest();
        }
        Ok(())
    }

    /// Make a run of each of `shapes`, and add it to `report`.
    async fn each(&mut self, report: &mut SearchReport, shapes: Vec<RunShape>) -> Result<()> {
        let series = Series { started: Instant::now(), at_most: shapes.len(), may_end_earlier: false };
        for shape in shapes {
            self.point(&series, &shape, report, None).await?;
        }
        Ok(())
    }

    /// Make one run of `shape`, add it to `report`, and show it; return its rate. With a bound, whether the run held it is
    /// recorded, too.
    async fn point(
        &mut self,
        series: &Series,
        shape: &RunShape,
        report: &mut SearchReport,
        bound_us: Option<f64>,
    ) -> Result<f64> {
        let number = report.points.len() + 1;
        let of = if series.may_end_earlier { "at most " } else { "" };
        self.label = format!(", run {number} of {of}{}", series.at_most);
        let mut point = self.measure_point(shape).await?;
        point.held = bound_us.map(|bound_us| {
            let in_bound = point.p99_us.is_some_and(|p99| p99 <= bound_us);
            in_bound && point.kept == Some(true) && point.errors == 0
        });
        let per_run = series.started.elapsed() / u32::try_from(number).unwrap_or(u32::MAX);
        self.monitor.pass_on(&MeasuredPoint {
            point: &point,
            number,
            at_most: series.at_most,
            may_end_earlier: series.may_end_earlier,
            counts_transactions: self.counts_transactions(),
            left: per_run * u32::try_from(series.at_most.saturating_sub(number)).unwrap_or(u32::MAX),
        });
        let rate = point.queries_per_second;
        report.points.push(point);
        Ok(rate)
    }

    /// Measure one run of `shape`.
    async fn measure_point(&mut self, shape: &RunShape) -> Result<SearchPoint> {
        let (report, _) = self.measure(shape).await?;
        if report.interrupted {
            return Err(Error::interrupted());
        }
        if let Some(error) = report.ended_by {
            return Err(error);
        }
        let response = report.response_us;
        Ok(SearchPoint {
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
            disturbed: report.bound.activity.is_crowded(),
        })
    }
}

/// The runs of a search.
struct Series {
    started: Instant,
    /// Their number, at most.
    at_most: usize,
    /// Whether there may be fewer.
    may_end_earlier: bool,
}

/// Every combination of the settings of `axes`; those of the last axis change fastest.
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
