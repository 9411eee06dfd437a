//! The runs of a search: a map of settings, a ramp of rates, or the highest rate that holds a bound.

use std::cmp::Ordering;

use crate::query::meter::{OpenMeter, RunShape};
use crate::query::rate_search::RateSearch;
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
                // At a lower rate a run would have fewer than two queries.
                let lowest = self.settings.limits.duration.map_or(1.0, |step| 2.0 / step.as_secs_f64());
                let mut search = RateSearch::new(capacity.queries_per_second, lowest.clamp(0.001, 1.0));
                report.points.push(capacity);
                while let Some(rate) = search.next() {
                    let mut point = self.point(&RunShape { rate: Some(rate), ..base }).await?;
                    let in_bound = point.p99_us.is_some_and(|p99| p99 <= bound_us);
                    let held = in_bound && point.kept == Some(true) && point.errors == 0;
                    point.held = Some(held);
                    report.points.push(point);
                    search.record(rate, held);
                    report.highest_rate = search.highest();
                }
            }
        }
        Ok(())
    }

    /// Measure one run of `shape`.
    async fn point(&mut self, shape: &RunShape) -> Result<SearchPoint> {
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
        })
    }
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
