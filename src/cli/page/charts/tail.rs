//! The 99th percentile by rate: where a server begins to lag behind.

use crate::cli::page::charts::Chart;
use crate::cli::page::charts::lines::{Axis, LinePlot, Series};
use crate::cli::page::scale::ScaleKind;
use crate::cli::page::svg::Svg;
use crate::cli::page::table::{NOTHING, Table};
use crate::cli::page::units::{micros, rate, round, round_micros};

/// A search through rates.
#[derive(Debug)]
pub(in crate::cli::page) struct TailChart {
    pub title: String,
    pub verdict: String,
    pub points: Vec<TailPoint>,
    /// The bound of the 99th percentile, in microseconds; `None` if there was none.
    pub bound_us: Option<f64>,
}

/// A run at one rate.
#[derive(Debug, Clone)]
pub(in crate::cli::page) struct TailPoint {
    /// The offered rate, in queries per second.
    pub rate: f64,
    /// The rate that was reached.
    pub reached: f64,
    /// `None` if no query was answered.
    pub p99_us: Option<f64>,
    /// Whether the rate was kept, and where there is a bound, whether it held.
    pub is_kept: bool,
}

impl Chart for TailChart {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn verdict(&self) -> String {
        self.verdict.clone()
    }

    fn description(&self) -> String {
        "A line: the 99th percentile of the response times on a logarithmic scale, by offered rate."
            .to_owned()
    }

    fn draw(&self, width: f64) -> Svg {
        let mut points: Vec<(f64, f64)> =
            self.points.iter().filter_map(|point| Some((point.rate, point.p99_us?))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let series = [Series { name: "p99".to_owned(), is_bold: false, points }];
        let plot = LinePlot {
            series: &series,
            x: Axis { kind: ScaleKind::Linear, name: "offered queries/s", text: round, ticks: Vec::new() },
            y: Axis {
                kind: ScaleKind::Log,
                name: "99th percentile of the response time, logarithmic",
                text: round_micros,
                ticks: Vec::new(),
            },
            limit: self.bound_us.map(|bound| (bound, format!("bound: {}", micros(bound)))),
            has_markers: true,
        };
        let frame = if Svg::is_narrow(width) { 200.0 } else { 260.0 };
        let mut svg = Svg::new(width, plot.height(width, frame));
        plot.draw(&mut svg, width, 0.0, frame);
        svg
    }

    fn table(&self) -> Table {
        let mut table =
            Table::new("Every rate that was tried", ["offered queries/s", "reached", "p99", "kept"]);
        for point in &self.points {
            let p99 = point.p99_us.map_or_else(|| NOTHING.to_owned(), micros);
            let kept = if point.is_kept { "yes" } else { "no" };
            table.row([rate(point.rate), rate(point.reached), p99, kept.to_owned()]);
        }
        table
    }
}
