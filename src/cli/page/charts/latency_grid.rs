//! Latency percentile curves of several settings: a small panel for each, all between the same axes.

use crate::cli::page::charts::Chart;
use crate::cli::page::charts::latency::{LatencyCurve, MARKED, nines, percentiles};
use crate::cli::page::scale::{Scale, ScaleKind};
use crate::cli::page::svg::{Anchor, BOLD, Svg, line_class, shorten, text_width};
use crate::cli::page::table::Table;
use crate::cli::page::units::round_micros;

/// The curves of contenders, by setting.
#[derive(Debug)]
pub(in crate::cli::page) struct LatencyGrid {
    pub title: String,
    pub verdict: String,
    /// The panels, from left to right and from top to bottom, each with its name.
    pub panels: Vec<(String, Vec<LatencyCurve>)>,
}

/// Between two panels.
const GAP: f64 = 14.0;

/// The height of a panel's name, and of the names of its percentiles.
const ABOVE: f64 = 24.0;
const BELOW: f64 = 30.0;

/// The distance of lines of the key.
const KEY_LINE: f64 = 20.0;

impl LatencyGrid {
    fn curves(&self) -> impl Iterator<Item = &LatencyCurve> {
        self.panels.iter().flat_map(|(_, curves)| curves)
    }

    /// The names of the curves, each once; their places are those of their colours.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for curve in self.curves() {
            if !names.contains(&curve.name.as_str()) {
                names.push(&curve.name);
            }
        }
        names
    }

    fn times(&self) -> impl Iterator<Item = f64> {
        self.curves().flat_map(|curve| &curve.percentiles).map(|(_, micros)| *micros)
    }

    /// The axis of the percentiles, as far as any curve goes.
    fn across(&self, from: f64, to: f64) -> Scale {
        let last = self.curves().filter_map(|curve| curve.percentiles.last()).map(|(share, _)| nines(*share));
        Scale::exact(nines(0.5), last.fold(nines(0.9), f64::max), from, to)
    }
}

/// Where the names in the key begin, and their lines.
fn key(names: &[&str], width: f64) -> Vec<(f64, usize)> {
    let (mut x, mut line, mut places) = (0.0, 0, Vec::new());
    for name in names {
        let needed = text_width(name) + 64.0;
        if x > 0.0 && x + needed > width + 20.0 {
            (x, line) = (0.0, line + 1);
        }
        places.push((x, line));
        x += needed;
    }
    places
}

impl Chart for LatencyGrid {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn verdict(&self) -> String {
        self.verdict.clone()
    }

    fn description(&self) -> String {
        let panels: Vec<&str> = self.panels.iter().map(|(name, _)| name.as_str()).collect();
        format!(
            "Panels with times on the same logarithmic scale, by percentile from the 50th. Panels: {}. Curves: {}.",
            panels.join(", "),
            self.names().join(", ")
        )
    }

    fn draw(&self, width: f64) -> Svg {
        let (columns, frame) = if Svg::is_narrow(width) { (2, 104.0) } else { (3, 128.0) };
        let names = self.names();
        let places = key(&names, width);
        let top = places.last().map_or(0, |(_, line)| line + 1) as f64 * KEY_LINE + 22.0;
        let times = |from, to| Scale::new(ScaleKind::Log, self.times(), from, to);
        let texts = times(0.0, 1.0).ticks(5).into_iter().map(round_micros);
        let left = texts.map(|text| text_width(&text)).fold(20.0, f64::max) + 8.0;
        let panel = (width - left - GAP * (columns - 1) as f64 - 4.0) / columns as f64;
        let row = ABOVE + frame + BELOW;
        let rows = self.panels.len().div_ceil(columns);
        let mut svg = Svg::new(width, top + row * rows as f64);
        for (series, (name, (x, line))) in names.iter().zip(places).enumerate() {
            let y = line as f64 * KEY_LINE + 10.0;
            svg.polyline(&line_class(series), &[(x + 2.0, y), (x + 32.0, y)]);
            svg.marker(series, (x + 17.0, y));
            svg.text("", (x + 40.0, y + 4.0), Anchor::Start, &shorten(name, width - x - 40.0));
        }
        svg.text("quiet", (0.0, top - 8.0), Anchor::Start, "time, logarithmic, by percentile");
        for (index, (name, curves)) in self.panels.iter().enumerate() {
            let x = left + (index % columns) as f64 * (panel + GAP);
            let y = top + (index / columns) as f64 * row + ABOVE;
            let (across, up) = (self.across(x, x + panel), times(y + frame, y));
            svg.text("strong", (x, y - 8.0), Anchor::Start, &shorten(name, (panel + 1.0) / BOLD));
            for tick in up.ticks(5) {
                svg.line("grid", (x, up.at(tick)), (x + panel, up.at(tick)));
                if index % columns == 0 {
                    svg.text("quiet", (x - 6.0, up.at(tick) + 4.0), Anchor::End, &round_micros(tick));
                }
            }
            draw_percentiles(&mut svg, &across, (x, x + panel), y + frame);
            for curve in curves {
                let series = names.iter().position(|name| *name == curve.name).unwrap_or_default();
                let has_place = |(_, micros): &&(f64, f64)| ScaleKind::Log.has_place(*micros);
                let points: Vec<(f64, f64)> = curve
                    .percentiles
                    .iter()
                    .filter(has_place)
                    .map(|(share, micros)| (across.at(nines(*share)), up.at(*micros)))
                    .collect();
                svg.polyline(&line_class(series), &points);
                for point in points {
                    svg.marker(series, point);
                }
            }
        }
        svg
    }

    fn table(&self) -> Table {
        percentiles(self.panels.iter().flat_map(|(panel, curves)| {
            curves.iter().map(move |curve| (format!("{panel}: {}", curve.name), curve))
        }))
    }
}

/// The axis of the percentiles at `y`, with the names for which there is room.
fn draw_percentiles(svg: &mut Svg, across: &Scale, (left, right): (f64, f64), y: f64) {
    svg.line("axis", (left, y), (right, y));
    // The names of the ends are the most telling, and p95 is close to p90.
    let mut named: Vec<(f64, f64)> = Vec::new();
    let ticks: Vec<(f64, &str)> =
        MARKED.into_iter().filter(|(share, _)| across.holds(nines(*share))).collect();
    let mut order: Vec<usize> = (0..ticks.len()).rev().collect();
    let is_between = |index: usize| index > 0 && index + 1 < ticks.len();
    order.sort_by_key(|index| (is_between(*index), ticks[*index].1 == "p95"));
    for (share, name) in order.into_iter().map(|index| &ticks[index]) {
        let (at, half) = (across.at(nines(*share)), text_width(name) / 2.0);
        svg.line("axis", (at, y), (at, y + 4.0));
        let middle = at.min(right - half).max(left + half);
        let is_free =
            named.iter().all(|(other, other_half)| (middle - other).abs() > half + other_half + 4.0);
        if is_free {
            svg.text("quiet", (middle, y + 18.0), Anchor::Middle, name);
            named.push((middle, half));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::page::svg::{NARROW, WIDE};

    #[test]
    fn every_setting_has_a_panel_and_every_contender_one_colour() {
        let curve = |name: &str, micros: f64| LatencyCurve {
            name: name.to_owned(),
            percentiles: vec![(0.5, micros), (0.99, 3.0 * micros)],
        };
        let panels = vec![
            ("1 × 1".to_owned(), vec![curve("query", 100.0), curve("sqlx", 200.0)]),
            ("1 × 8".to_owned(), vec![curve("sqlx", 300.0)]),
        ];
        let chart = LatencyGrid { title: String::new(), verdict: String::new(), panels };
        for width in [WIDE, NARROW] {
            let drawn = chart.draw(width).finish("", "f", "", "");
            // One line in the key, and one in each panel.
            assert_eq!((drawn.matches("line s0").count(), drawn.matches("line s1").count()), (2, 3));
            assert!(drawn.contains(">1 × 1<") && drawn.contains(">1 × 8<"), "{drawn}");
        }
        let table = chart.table();
        let names: Vec<&str> = table.rows.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(names, ["1 × 1: query", "1 × 1: sqlx", "1 × 8: sqlx"]);
        assert_eq!(table.rows[2][4], "900 µs");
    }
}
