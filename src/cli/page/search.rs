//! What a page shows of a search of `query`.

use crate::cli::page::charts::heat::{HeatCell, HeatChart};
use crate::cli::page::charts::tail::{TailChart, TailPoint};
use crate::cli::page::document::{AxisPart, PointPart, SearchDocument};
use crate::cli::page::html::Page;
use crate::cli::page::query::{server, table_fact};
use crate::cli::page::table::{NOTHING, Table};
use crate::cli::page::units::{compact, count, micros, rate};

/// Add what is shown of `search`.
pub(super) fn add(page: &mut Page, search: &SearchDocument) {
    if let Some(error) = &search.ended_by {
        page.notice(&format!("Not finished: {error}"));
    }
    let by_client = search.points.iter().filter(|point| point.bound == "client").count();
    if by_client > 0 {
        page.notice(&format!(
            "The client, not the server, bounded {by_client} of {} runs: measure from a larger machine or from several.",
            search.points.len()
        ));
    }
    page.facts(&[
        ("Search", search.search.clone()),
        ("Workloads", search.workloads.join(", ")),
        ("Table", search.table.as_ref().map_or_else(String::new, table_fact)),
    ]);
    let rates = search.points.iter().filter(|point| point.rate.is_some()).count();
    match search.axes.as_slice() {
        [] if rates > 1 => page.figure(&tail(search)),
        [] => {}
        axes => {
            page.figure(&map(search, axes, true));
            if search.points.iter().any(|point| point.p99_us.is_some()) {
                page.figure(&map(search, axes, false));
            }
        }
    }
    page.table(&runs(&search.points), Some("Every run"));
    page.table(&server(&search.server), Some("The server and its settings"));
}

/// The 99th percentile by rate.
fn tail(search: &SearchDocument) -> TailChart {
    let point = |point: &PointPart| {
        Some(TailPoint {
            rate: point.rate?,
            reached: point.queries_per_second,
            p99_us: point.p99_us,
            is_kept: point.kept != Some(false) && point.held != Some(false),
        })
    };
    let points: Vec<TailPoint> = search.points.iter().filter_map(point).collect();
    let kept = points.iter().filter(|point| point.is_kept).map(|point| point.rate).reduce(f64::max);
    let verdict = match (search.p99_bound_us, search.highest_rate, kept) {
        (Some(bound), Some(highest), _) => {
            format!("The highest rate with a p99 within {} is {} queries/s.", micros(bound), rate(highest))
        }
        (Some(bound), None, _) => format!("At every rate tried the p99 exceeded {}.", micros(bound)),
        (None, _, Some(kept)) => format!("Rates were kept up to {} queries/s.", rate(kept)),
        (None, _, None) => "No rate was kept.".to_owned(),
    };
    TailChart { title: "p99 by rate".to_owned(), verdict, points, bound_us: search.p99_bound_us }
}

/// The value of the setting of `axis` at `point`.
fn setting_of(point: &PointPart, axis: &AxisPart) -> Option<f64> {
    match axis.setting.as_str() {
        "connections" => Some(point.connections as f64),
        "pipeline-depth" => Some(point.pipeline_depth as f64),
        _ => point.rate,
    }
}

/// The map of the rates, or of the 99th percentiles, by one or two settings.
fn map(search: &SearchDocument, axes: &[AxisPart], is_rate: bool) -> HeatChart {
    let across = &axes[axes.len() - 1];
    let down = (axes.len() > 1).then(|| &axes[0]);
    let value = |point: &PointPart| if is_rate { Some(point.queries_per_second) } else { point.p99_us };
    let is_at = |point: &PointPart, axis: &AxisPart, wanted: f64| {
        setting_of(point, axis).is_some_and(|setting| (setting - wanted).abs() < 1e-9)
    };
    let cell = |down_value: Option<f64>, across_value: f64| {
        let is_here = |point: &&PointPart| {
            is_at(point, across, across_value)
                && down.zip(down_value).is_none_or(|(axis, wanted)| is_at(point, axis, wanted))
        };
        let found = search.points.iter().find(is_here)?;
        Some(HeatCell { value: value(found)?, note: String::new() })
    };
    let rows: Vec<Option<f64>> =
        down.map_or_else(|| vec![None], |axis| axis.values.iter().copied().map(Some).collect());
    let cells = rows.iter().map(|row| across.values.iter().map(|column| cell(*row, *column)).collect());
    let names = |values: &[f64]| values.iter().map(|value| compact(*value)).collect();
    let mut chart = HeatChart {
        title: if is_rate { "Queries per second" } else { "99th percentile of the response time" }.to_owned(),
        verdict: String::new(),
        settings: [down.map_or_else(String::new, |axis| axis.setting.clone()), across.setting.clone()],
        down: down.map_or_else(|| vec![String::new()], |axis| names(&axis.values)),
        across: names(&across.values),
        cells: cells.collect(),
        texts: if is_rate { [rate, compact] } else { [micros, micros] },
        most_is_best: is_rate,
    };
    chart.verdict = match chart.best() {
        Some((row, column, best)) => {
            let at = match down {
                Some(down) => {
                    format!(
                        "{} {}, {} {}",
                        down.setting, chart.down[row], across.setting, chart.across[column]
                    )
                }
                None => format!("{} {}", across.setting, chart.across[column]),
            };
            if is_rate {
                format!("The highest rate is {} queries/s, at {at}.", rate(best))
            } else {
                format!("The lowest p99 is {}, at {at}.", micros(best))
            }
        }
        None => "Nothing was measured.".to_owned(),
    };
    chart
}

fn runs(points: &[PointPart]) -> Table {
    let mut table = Table::new(
        "Every run of the search",
        ["connections", "in flight on each", "offered", "queries/s", "mean", "p99", "failed", "bounded by"],
    );
    let or_nothing =
        |value: Option<f64>, text: fn(f64) -> String| value.map_or_else(|| NOTHING.to_owned(), text);
    for point in points {
        table.row([
            point.connections.to_string(),
            point.pipeline_depth.to_string(),
            or_nothing(point.rate, rate),
            rate(point.queries_per_second),
            or_nothing(point.mean_us, micros),
            or_nothing(point.p99_us, micros),
            count(point.errors),
            point.bound.clone(),
        ]);
    }
    table
}
