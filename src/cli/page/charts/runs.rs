//! The spread of several runs: the rate of each.

use crate::cli::page::charts::Chart;
use crate::cli::page::charts::lines::{Axis, LinePlot, Series};
use crate::cli::page::scale::ScaleKind;
use crate::cli::page::svg::Svg;
use crate::cli::page::table::Table;
use crate::cli::page::units::round;

/// The runs of one or two sides, in the order in which they were made.
#[derive(Debug)]
pub(in crate::cli::page) struct RunsChart {
    /// The rates of each side, under its name.
    pub sides: Vec<(String, Vec<f64>)>,
    pub verdict: String,
    /// All figures of each run.
    pub figures: Table,
}

/// With more runs, not every run has a tick.
const MOST_TICKS: usize = 20;

impl Chart for RunsChart {
    fn title(&self) -> String {
        "The runs".to_owned()
    }

    fn verdict(&self) -> String {
        self.verdict.clone()
    }

    fn description(&self) -> String {
        "A line through the rates of the runs, in the order in which they were made.".to_owned()
    }

    fn draw(&self, width: f64) -> Svg {
        let numbered = |rates: &[f64]| {
            rates.iter().enumerate().map(|(index, rate)| ((index + 1) as f64, *rate)).collect()
        };
        let series: Vec<Series> = self
            .sides
            .iter()
            .map(|(name, rates)| Series { name: name.clone(), is_bold: false, points: numbered(rates) })
            .collect();
        let runs = self.sides.iter().map(|(_, rates)| rates.len()).max().unwrap_or_default();
        let ticks = if runs > MOST_TICKS { Vec::new() } else { (1..=runs).map(|run| run as f64).collect() };
        let plot = LinePlot {
            series: &series,
            x: Axis { kind: ScaleKind::Linear, name: "run", text: round, ticks },
            y: Axis { kind: ScaleKind::Linear, name: "queries/s", text: round, ticks: Vec::new() },
            limit: None,
            has_markers: runs <= MOST_TICKS,
        };
        let frame = if Svg::is_narrow(width) { 140.0 } else { 160.0 };
        let mut svg = Svg::new(width, plot.height(width, frame));
        plot.draw(&mut svg, width, 0.0, frame);
        svg
    }

    fn table(&self) -> Table {
        self.figures.clone()
    }
}
