//! The cost of a row by the number of rows, log–log: level where the time grows as the rows do.

use postgres_etl::statistics::power_law;

use crate::cli::page::charts::Chart;
use crate::cli::page::charts::lines::{Axis, LinePlot, Series};
use crate::cli::page::scale::ScaleKind;
use crate::cli::page::svg::Svg;
use crate::cli::page::table::{NOTHING, Table};
use crate::cli::page::units::{compact, count, counted, ratio, round_micros, signed, small_micros};
use crate::cli::page::verdicts::spoken;

/// A line for each way to load.
#[derive(Debug)]
pub(in crate::cli::page) struct CostChart {
    pub title: String,
    pub ways: Vec<CostOfWay>,
}

/// The cost of a row, by number of rows.
#[derive(Debug, Clone)]
pub(in crate::cli::page) struct CostOfWay {
    pub name: String,
    /// Whether it stands out from the others.
    pub is_ours: bool,
    /// Numbers of rows, and microseconds a row, in ascending order.
    pub costs: Vec<(f64, f64)>,
}

impl CostOfWay {
    /// The exponent by which the cost of a row changes with the number of rows; 0 if it does not.
    fn slope(&self) -> Option<f64> {
        power_law(&self.costs).map(|law| law.exponent)
    }

    /// The cost with the most rows.
    fn last(&self) -> f64 {
        self.costs.last().map_or(f64::INFINITY, |cost| cost.1)
    }

    fn named(&self) -> String {
        match self.slope() {
            Some(slope) => format!("{}, slope {}", self.name, signed(slope)),
            None => self.name.clone(),
        }
    }

    /// With its slope first, as long names are shortened.
    fn label(&self) -> String {
        match self.slope() {
            Some(slope) => format!("{}  {}", signed(slope), self.name),
            None => self.name.clone(),
        }
    }
}

impl CostChart {
    /// Every number of rows.
    fn sizes(&self) -> Vec<f64> {
        let mut sizes: Vec<f64> = self.ways.iter().flat_map(|way| &way.costs).map(|cost| cost.0).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        sizes
    }
}

impl Chart for CostChart {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn verdict(&self) -> String {
        let Some(largest) = self.sizes().last().copied() else { return "Nothing was measured.".to_owned() };
        let at_largest = |way: &'_ CostOfWay| {
            let cost = way.costs.iter().find(|cost| cost.0.total_cmp(&largest).is_eq())?;
            Some((spoken(&way.name, way.is_ours), way.slope(), cost.1))
        };
        let cheapest = self.ways.iter().filter_map(at_largest).min_by(|a, b| a.2.total_cmp(&b.2));
        let Some((name, slope, cost)) = cheapest else { return "Nothing was measured.".to_owned() };
        let means = slope.map(|slope| {
            let with_ten_times = match 10f64.powf(slope) {
                0.98..1.02 => "costs the same".to_owned(),
                times => format!("costs {} times as much", ratio(times)),
            };
            format!(
                " Its slope is {}: with 10 times as many rows, each of them {with_ten_times}.",
                signed(slope)
            )
        });
        let rows = count(largest as u64);
        let first = format!("With {rows} rows the cheapest is {name}: {} a row.", small_micros(cost));
        first + &means.unwrap_or_default()
    }

    fn description(&self) -> String {
        let names: Vec<String> = self.ways.iter().map(CostOfWay::named).collect();
        format!(
            "Lines between logarithmic axes: the time for each row, by number of rows. {}.",
            names.join("; ")
        )
    }

    fn draw(&self, width: f64) -> Svg {
        // From top to bottom, as the lines end.
        let mut ways: Vec<&CostOfWay> = self.ways.iter().collect();
        ways.sort_by(|a, b| b.last().total_cmp(&a.last()));
        let one =
            |way: &&CostOfWay| Series { name: way.label(), is_bold: way.is_ours, points: way.costs.clone() };
        let series: Vec<Series> = ways.iter().map(one).collect();
        let plot = LinePlot {
            series: &series,
            x: Axis { kind: ScaleKind::Log, name: "rows, logarithmic", text: compact, ticks: Vec::new() },
            y: Axis {
                kind: ScaleKind::Log,
                name: "time for each row, logarithmic; each line with its slope",
                text: round_micros,
                ticks: Vec::new(),
            },
            limit: None,
            has_markers: true,
        };
        let frame = if Svg::is_narrow(width) { 240.0 } else { 320.0 };
        let mut svg = Svg::new(width, plot.height(width, frame));
        plot.draw(&mut svg, width, 0.0, frame);
        svg
    }

    fn table(&self) -> Table {
        let sizes = self.sizes();
        let mut table = Table::new("Time for each row, and its slope", [""]);
        table.head.extend(sizes.iter().map(|size| counted(*size as u64, "row")));
        table.head.push("slope".to_owned());
        let nothing = || NOTHING.to_owned();
        let mut ways: Vec<&CostOfWay> = self.ways.iter().collect();
        ways.sort_by(|a, b| a.last().total_cmp(&b.last()));
        for way in ways {
            let mut row = vec![way.name.clone()];
            row.extend(sizes.iter().map(|size| {
                let cost = way.costs.iter().find(|cost| cost.0.total_cmp(size).is_eq());
                cost.map_or_else(nothing, |cost| small_micros(cost.1))
            }));
            row.push(way.slope().map_or_else(nothing, signed));
            table.rows.push(row);
        }
        table
    }
}
