//! The rate and the 99th percentile over time, one above the other.

use crate::cli::page::charts::Chart;
use crate::cli::page::charts::lines::{Axis, LinePlot, Series};
use crate::cli::page::scale::ScaleKind;
use crate::cli::page::svg::Svg;
use crate::cli::page::table::{NOTHING, Table};
use crate::cli::page::units::{count, micros, rate, round, round_micros};

/// A run, stretch by stretch.
#[derive(Debug)]
pub(in crate::cli::page) struct TimelineChart {
    pub title: String,
    /// The length of a stretch, in seconds.
    pub stretch: u64,
    pub stretches: Vec<Stretch>,
}

/// A line, what it measures, and the texts of its ticks.
type Panel = (Series, &'static str, fn(f64) -> String);

/// A second of a run, or several.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli::page) struct Stretch {
    /// When it began, in seconds since the start.
    pub from: f64,
    /// Queries that succeeded, per second.
    pub rate: f64,
    pub errors: u64,
    /// The 99th percentile of the response times, in microseconds, of several seconds the highest; `None` if it was not
    /// measured.
    pub p99_us: Option<f64>,
}

/// A second of a run, as reports have it.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli::page) struct Second {
    pub answered: u64,
    pub errors: u64,
    pub p99_us: f64,
}

/// More points than this cannot be told apart.
const MOST_STRETCHES: usize = 180;

/// Points are marked where there are no more than this, as a line through few hides where they are.
const MOST_MARKED: usize = 20;

/// A last second of which less than this share was measured is left out.
const FEWEST_OF_SECOND: f64 = 0.2;

impl TimelineChart {
    /// The chart of the `seconds` of a run that took `length` seconds; `None` if it is too short.
    pub(in crate::cli::page) fn new(title: String, seconds: &[Second], length: f64) -> Option<TimelineChart> {
        let last = length - length.floor();
        let is_partial = |index: usize| index as f64 + 1.0 > length;
        let stretch = seconds.len().div_ceil(MOST_STRETCHES).max(1);
        let mut stretches = Vec::new();
        for (number, chunk) in seconds.chunks(stretch).enumerate() {
            let first = number * stretch;
            let measured: f64 =
                (first..first + chunk.len()).map(|index| if is_partial(index) { last } else { 1.0 }).sum();
            if measured < FEWEST_OF_SECOND {
                continue;
            }
            let answered: u64 = chunk.iter().map(|second| second.answered).sum();
            let p99 = chunk.iter().map(|second| second.p99_us).filter(|p99| *p99 > 0.0).reduce(f64::max);
            stretches.push(Stretch {
                from: first as f64,
                rate: answered as f64 / measured,
                errors: chunk.iter().map(|second| second.errors).sum(),
                p99_us: p99,
            });
        }
        (stretches.len() > 1).then_some(TimelineChart { title, stretch: stretch as u64, stretches })
    }

    /// The rates, in ascending order.
    fn rates(&self) -> Vec<f64> {
        let mut rates: Vec<f64> = self.stretches.iter().map(|stretch| stretch.rate).collect();
        rates.sort_by(f64::total_cmp);
        rates
    }

    fn plots(&self) -> Vec<Panel> {
        let middle = self.stretch as f64 / 2.0;
        let rates = self.stretches.iter().map(|stretch| (stretch.from + middle, stretch.rate)).collect();
        let p99s: Vec<(f64, f64)> = self
            .stretches
            .iter()
            .filter_map(|stretch| Some((stretch.from + middle, stretch.p99_us?)))
            .collect();
        let mut plots: Vec<Panel> =
            vec![(Series { name: "rate".to_owned(), is_bold: false, points: rates }, "queries/s", round)];
        if !p99s.is_empty() {
            let name = "99th percentile of the response time";
            plots.push((Series { name: "p99".to_owned(), is_bold: false, points: p99s }, name, round_micros));
        }
        plots
    }
}

impl Chart for TimelineChart {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn verdict(&self) -> String {
        let rates = self.rates();
        let median = rates[rates.len() / 2];
        let slowest = self.stretches.iter().min_by(|a, b| a.rate.total_cmp(&b.rate));
        let lost = slowest.map_or(0.0, |slowest| 1.0 - slowest.rate / median.max(1e-9));
        match slowest {
            Some(slowest) if lost > 0.2 && slowest.from < 0.5 => format!(
                "The rate began at {} queries/s, {:.0} % below its median of {}.",
                rate(slowest.rate),
                lost * 100.0,
                rate(median)
            ),
            Some(slowest) if lost > 0.2 => format!(
                "The rate fell to {} queries/s at second {}, {:.0} % below its median of {}.",
                rate(slowest.rate),
                slowest.from,
                lost * 100.0,
                rate(median)
            ),
            _ => format!(
                "The rate stayed between {} and {} queries/s.",
                rate(rates[0]),
                rate(rates[rates.len() - 1])
            ),
        }
    }

    fn description(&self) -> String {
        format!(
            "Two lines over the seconds of the run, a point for every {} s: queries per second, and below it the 99th percentile of the response times.",
            self.stretch
        )
    }

    fn draw(&self, width: f64) -> Svg {
        let (plots, frame) = (self.plots(), if Svg::is_narrow(width) { 120.0 } else { 150.0 });
        let one = frame + 76.0;
        let mut svg = Svg::new(width, one * plots.len() as f64);
        for (index, (series, name, text)) in plots.into_iter().enumerate() {
            let series = [series];
            let plot = LinePlot {
                series: &series,
                x: Axis {
                    kind: ScaleKind::Linear,
                    name: "seconds since the start",
                    text: round,
                    ticks: Vec::new(),
                },
                y: Axis { kind: ScaleKind::Linear, name, text, ticks: Vec::new() },
                limit: None,
                has_markers: self.stretches.len() <= MOST_MARKED,
            };
            plot.draw(&mut svg, width, one * index as f64, frame);
        }
        svg
    }

    fn table(&self) -> Table {
        let caption = match self.stretch {
            1 => "Second by second".to_owned(),
            stretch => format!("Every {stretch} seconds, with the highest p99 of a second"),
        };
        let mut table = Table::new(caption, ["second", "queries/s", "errors", "p99"]);
        for stretch in &self.stretches {
            let p99 = stretch.p99_us.map_or_else(|| NOTHING.to_owned(), micros);
            table.row([stretch.from.to_string(), rate(stretch.rate), count(stretch.errors), p99]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_last_second_does_not_look_like_a_fall() {
        let second = |answered| Second { answered, errors: 0, p99_us: 5.0 };
        let seconds = [second(100), second(100), second(50)];
        let chart = TimelineChart::new(String::new(), &seconds, 2.5).unwrap();
        assert!(chart.stretches.iter().all(|stretch| (stretch.rate - 100.0).abs() < 1e-9), "{chart:?}");
        let chart = TimelineChart::new(String::new(), &seconds, 2.01).unwrap();
        assert_eq!(chart.stretches.len(), 2);
        assert!(TimelineChart::new(String::new(), &seconds[..1], 0.9).is_none());
    }

    #[test]
    fn a_long_run_is_gathered_into_few_stretches() {
        let seconds = vec![Second { answered: 10, errors: 1, p99_us: 5.0 }; 3600];
        let chart = TimelineChart::new(String::new(), &seconds, 3600.0).unwrap();
        assert_eq!((chart.stretch, chart.stretches.len()), (20, 180));
        assert_eq!(chart.stretches[3], Stretch { from: 60.0, rate: 10.0, errors: 20, p99_us: Some(5.0) });
        assert_eq!(chart.verdict(), "The rate stayed between 10.0 and 10.0 queries/s.");
    }
}
