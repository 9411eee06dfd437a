//! The latency percentile curve: how long the slowest of 2, of 10, of 100 queries take, on a logarithmic scale.

use crate::cli::page::charts::Chart;
use crate::cli::page::charts::lines::{Axis, LinePlot, Series};
use crate::cli::page::scale::ScaleKind;
use crate::cli::page::svg::Svg;
use crate::cli::page::table::{NOTHING, Table};
use crate::cli::page::units::{micros, ratio, round_micros};

/// The curves of one or more runs, or of the parts of a response time.
#[derive(Debug)]
pub(in crate::cli::page) struct LatencyChart {
    pub title: String,
    pub curves: Vec<LatencyCurve>,
}

/// Percentiles, in microseconds.
#[derive(Debug, Clone)]
pub(in crate::cli::page) struct LatencyCurve {
    pub name: String,
    /// Shares of the queries, from 0 to 1, in ascending order, each with the time that it took at most.
    pub percentiles: Vec<(f64, f64)>,
}

/// The percentiles that are marked, with their names.
pub(super) const MARKED: [(f64, &str); 6] =
    [(0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];

/// Points of a curve for each tenth of the queries that remain.
const STEPS: u32 = 8;

/// At least this number of queries must take longer than a percentile for it to be shown.
const FEWEST_BEYOND: f64 = 5.0;

impl LatencyCurve {
    /// The curve through `counts`: each time, in nanoseconds, and the number of queries that took it.
    pub(in crate::cli::page) fn from_counts(name: String, counts: &[(u64, u64)]) -> LatencyCurve {
        let mut counts = counts.to_vec();
        counts.sort_unstable();
        let total: f64 = counts.iter().map(|(_, count)| *count as f64).sum();
        let steps = (0..=STEPS * 4).map(|step| 1.0 - 0.5 * 0.1f64.powf(f64::from(step) / f64::from(STEPS)));
        let mut shares: Vec<f64> = steps.chain(MARKED.map(|(share, _)| share)).collect();
        shares.sort_by(f64::total_cmp);
        shares.dedup_by(|a, b| (*a - *b).abs() < 1e-9);
        shares.retain(|share| *share <= 0.9999 + 1e-9 && total * (1.0 - share) >= FEWEST_BEYOND);
        let (mut below, mut index, mut percentiles) = (0.0, 0, Vec::new());
        for share in shares {
            while let Some((_, count)) = counts.get(index)
                && below + (*count as f64) < share * total
            {
                below += *count as f64;
                index += 1;
            }
            if let Some((nanoseconds, _)) = counts.get(index) {
                percentiles.push((share, *nanoseconds as f64 / 1e3));
            }
        }
        LatencyCurve { name, percentiles }
    }

    /// The time at `share`.
    pub(in crate::cli::page) fn at(&self, share: f64) -> Option<f64> {
        self.percentiles.iter().find(|(at, _)| (at - share).abs() < 1e-9).map(|(_, micros)| *micros)
    }
}

impl LatencyChart {
    /// Which curve is the lowest at the 99th percentile, or at the highest below it that all curves have.
    fn lowest(&self) -> String {
        for (share, name) in MARKED.into_iter().rev().filter(|(share, _)| *share <= 0.99) {
            let times: Option<Vec<(f64, &str)>> =
                self.curves.iter().map(|curve| Some((curve.at(share)?, curve.name.as_str()))).collect();
            let lowest = times.and_then(|times| times.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)));
            if let Some((time, of)) = lowest {
                let percent = share * 100.0;
                return format!(
                    "The lowest {name} is that of {of}: {percent:.0} % of its queries took at most {}.",
                    micros(time)
                );
            }
        }
        "There are too few queries to compare percentiles.".to_owned()
    }
}

/// Where a share is drawn: every further nine of 0.9, 0.99, 0.999 is as long as the first.
pub(super) fn nines(share: f64) -> f64 {
    -(1.0 - share).max(1e-12).log10()
}

/// The name of the percentile drawn at `nines`.
fn name(at: f64) -> String {
    let marked = MARKED.iter().find(|(share, _)| (nines(*share) - at).abs() < 1e-6);
    marked.map_or_else(String::new, |(_, name)| (*name).to_owned())
}

impl Chart for LatencyChart {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn verdict(&self) -> String {
        let known = |curve: &LatencyCurve| Some((curve.at(0.5)?, curve.at(0.99)?));
        match self.curves.as_slice() {
            [_, _, ..] if self.title.contains("compared") => self.lowest(),
            // What differs by chance is for the ratios to tell.
            [_, _, ..] if self.title.contains("each side") => {
                "Of each side, this is the run with the median rate.".to_owned()
            }
            [first, ..] => match known(first) {
                Some((p50, p99)) => format!(
                    "Half of the queries took at most {}, and 99 % at most {}: {} times as long.",
                    micros(p50),
                    micros(p99),
                    ratio(p99 / p50.max(1e-3))
                ),
                None => "There are too few queries for a 99th percentile.".to_owned(),
            },
            [] => "Nothing was measured.".to_owned(),
        }
    }

    fn description(&self) -> String {
        let names: Vec<&str> = self.curves.iter().map(|curve| curve.name.as_str()).collect();
        format!(
            "Times on a logarithmic scale, by percentile from the 50th to the 99.99th. Curves: {}.",
            names.join(", ")
        )
    }

    fn draw(&self, width: f64) -> Svg {
        let points = |curve: &LatencyCurve| {
            curve.percentiles.iter().map(|(share, micros)| (nines(*share), *micros)).collect()
        };
        let series: Vec<Series> = self
            .curves
            .iter()
            .map(|curve| Series { name: curve.name.clone(), is_bold: false, points: points(curve) })
            .collect();
        let last = series.iter().filter_map(|series| series.points.last()).map(|point| point.0);
        let last = last.fold(nines(0.9), f64::max) + 1e-6;
        let ticks = MARKED.iter().map(|(share, _)| nines(*share)).filter(|tick| *tick <= last).collect();
        let plot = LinePlot {
            series: &series,
            x: Axis { kind: ScaleKind::Linear, name: "percentile", text: name, ticks },
            y: Axis {
                kind: ScaleKind::Log,
                name: "time, logarithmic",
                text: round_micros,
                ticks: Vec::new(),
            },
            limit: None,
            has_markers: self.curves.iter().all(|curve| curve.percentiles.len() <= MARKED.len()),
        };
        let frame = if Svg::is_narrow(width) { 220.0 } else { 300.0 };
        let mut svg = Svg::new(width, plot.height(width, frame));
        plot.draw(&mut svg, width, 0.0, frame);
        svg
    }

    fn table(&self) -> Table {
        percentiles(self.curves.iter().map(|curve| (curve.name.clone(), curve)))
    }
}

/// The marked percentiles of named `curves`.
pub(super) fn percentiles<'a>(curves: impl IntoIterator<Item = (String, &'a LatencyCurve)>) -> Table {
    let mut table =
        Table::new("Percentiles of the times", ["", "p50", "p90", "p95", "p99", "p99.9", "p99.99"]);
    for (name, curve) in curves {
        let cells = MARKED.map(|(share, _)| curve.at(share).map_or_else(|| NOTHING.to_owned(), micros));
        table.rows.push([name].into_iter().chain(cells).collect());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::page::svg::WIDE;

    /// A curve may end between two percentiles that are marked.
    #[test]
    fn a_curve_is_drawn_to_its_end() {
        let counts: Vec<(u64, u64)> = (1..=30_000).map(|micros| (micros * 1000, 1)).collect();
        let curve = LatencyCurve::from_counts("run".into(), &counts);
        assert!(curve.percentiles.last().is_some_and(|(share, _)| (0.9991..0.9999).contains(share)));
        let last = curve.percentiles.len() - 1;
        let chart = LatencyChart { title: String::new(), curves: vec![curve] };
        let drawn = chart.draw(WIDE).finish("wide", "f", "", "");
        let path = drawn.split("line s0").nth(1).unwrap().split("d=\"M").nth(1).unwrap();
        let path: Vec<&str> = path.split('"').next().unwrap().split('L').collect();
        let places: Vec<f64> =
            path.iter().map(|point| point.split(' ').next().unwrap().parse().unwrap()).collect();
        assert!(places.len() == last + 1 && places.is_sorted_by(|a, b| a < b), "{places:?}");
    }

    #[test]
    fn a_curve_has_the_percentiles_of_its_counts() {
        // 1 µs to 100 ms, one query each: the quantiles are known.
        let counts: Vec<(u64, u64)> = (1..=100_000).map(|micros| (micros * 1000, 1)).collect();
        let curve = LatencyCurve::from_counts("run".into(), &counts);
        let known = [(0.5, 50_000.0), (0.9, 90_000.0), (0.99, 99_000.0), (0.9999, 99_990.0)];
        for (share, micros) in known {
            assert!((curve.at(share).unwrap() - micros).abs() <= 1.0, "{share}: {:?}", curve.at(share));
        }
        assert!(curve.percentiles.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
        let few = LatencyCurve::from_counts("few".into(), &[(1000, 90), (9000, 10)]);
        assert_eq!((few.at(0.5), few.at(0.95), few.at(0.99)), (Some(1.0), Some(9.0), None));
        assert!(LatencyCurve::from_counts("none".into(), &[]).percentiles.is_empty());
    }
}
