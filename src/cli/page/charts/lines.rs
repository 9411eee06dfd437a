//! Lines through points between two axes: what several charts are made of.

use crate::cli::page::scale::{Scale, ScaleKind, spread};
use crate::cli::page::svg::{Anchor, Svg, line_class, shorten, text_width};

/// A line.
#[derive(Debug, Clone)]
pub(in crate::cli::page) struct Series {
    pub name: String,
    /// In ascending order of their abscissas.
    pub points: Vec<(f64, f64)>,
}

/// An axis.
pub(super) struct Axis<'a> {
    pub kind: ScaleKind,
    /// What is measured, with its unit.
    pub name: &'a str,
    /// The text of a tick.
    pub text: fn(f64) -> String,
    /// The ticks, from the beginning of the axis; empty to have them chosen.
    pub ticks: Vec<f64>,
}

/// A rectangle between axes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

/// Series between two axes.
pub(super) struct LinePlot<'a> {
    pub series: &'a [Series],
    pub x: Axis<'a>,
    pub y: Axis<'a>,
    /// An ordinate that is not to be exceeded, and its name.
    pub limit: Option<(f64, String)>,
    /// Whether points have markers.
    pub has_markers: bool,
}

/// The distance of lines of text.
const LINE: f64 = 17.0;

/// More series are named below the plot, not at the ends of their lines.
const MOST_AT_ENDS: usize = 12;

impl LinePlot<'_> {
    /// The height of the whole drawing, with `plot` for the frame.
    pub(super) fn height(&self, width: f64, plot: f64) -> f64 {
        let key = if self.has_key(width) { self.series.len() as f64 * LINE + 8.0 } else { 0.0 };
        26.0 + plot + 46.0 + key
    }

    /// Whether the series are named below the plot.
    fn has_key(&self, width: f64) -> bool {
        self.series.len() > 1 && (Svg::is_narrow(width) || self.series.len() > MOST_AT_ENDS)
    }

    /// Draw it below `top`, with `plot` for the height of the frame.
    pub(super) fn draw(&self, svg: &mut Svg, width: f64, top: f64, plot: f64) {
        let y_values: Vec<f64> =
            self.values(|(_, y)| y).chain(self.limit.iter().map(|limit| limit.0)).collect();
        let y = |from, to| Scale::new(self.y.kind, y_values.iter().copied(), from, to);
        let texts = y(0.0, 1.0).ticks(6).into_iter().map(self.y.text);
        let left = texts.map(|text| text_width(&text)).fold(20.0, f64::max) + 8.0;
        let names = self.series.iter().map(|series| text_width(&series.name)).fold(0.0, f64::max);
        let at_ends = self.series.len() > 1 && !self.has_key(width);
        let right = if at_ends { names.min(260.0) + 26.0 } else { 18.0 };
        let frame = Frame { left, top: top + 26.0, right: width - right, bottom: top + 26.0 + plot };
        let y = y(frame.bottom, frame.top);
        let x = match self.x.ticks.as_slice() {
            [first, .., last] => {
                let end = self.values(|(x, _)| x).fold(*last, f64::max);
                Scale::exact(*first, end, frame.left, frame.right)
            }
            _ => Scale::new(self.x.kind, self.values(|(x, _)| x), frame.left, frame.right),
        };
        svg.text("quiet", (0.0, top + 13.0), Anchor::Start, self.y.name);
        self.draw_axes(svg, width, frame, &x, &y);
        let lines: Vec<Vec<(f64, f64)>> =
            self.series.iter().map(|series| self.places(series, &x, &y)).collect();
        for (index, line) in lines.iter().enumerate() {
            svg.polyline(&line_class(index), line);
        }
        if self.has_markers {
            for (index, line) in lines.iter().enumerate() {
                for point in line {
                    svg.marker(index, *point);
                }
            }
        }
        if at_ends {
            self.name_at_ends(svg, width, frame, &lines);
        } else if self.has_key(width) {
            self.name_below(svg, width, frame.bottom + 54.0);
        }
    }

    fn values(&self, of: fn((f64, f64)) -> f64) -> impl Iterator<Item = f64> {
        self.series.iter().flat_map(|series| &series.points).map(move |point| of(*point))
    }

    /// Where the points of `series` are drawn, without those that have no place.
    fn places(&self, series: &Series, x: &Scale, y: &Scale) -> Vec<(f64, f64)> {
        let has_place =
            |point: &&(f64, f64)| self.x.kind.has_place(point.0) && self.y.kind.has_place(point.1);
        series.points.iter().filter(has_place).map(|point| (x.at(point.0), y.at(point.1))).collect()
    }

    fn draw_axes(&self, svg: &mut Svg, width: f64, frame: Frame, x: &Scale, y: &Scale) {
        for tick in y.ticks(6) {
            let at = y.at(tick);
            svg.line("grid", (frame.left, at), (frame.right, at));
            svg.text("quiet", (frame.left - 6.0, at + 4.0), Anchor::End, &(self.y.text)(tick));
        }
        let ticks = match self.x.ticks.as_slice() {
            [] => x.ticks(if Svg::is_narrow(width) { 5 } else { 8 }),
            ticks => ticks.to_vec(),
        };
        let mut free = f64::NEG_INFINITY;
        for tick in ticks {
            let (at, text) = (x.at(tick), (self.x.text)(tick));
            let half = text_width(&text) / 2.0;
            let middle = at.min(width - half);
            svg.line("axis", (at, frame.bottom), (at, frame.bottom + 4.0));
            // Texts that would meet are left out.
            if middle - half >= free {
                svg.text("quiet", (middle, frame.bottom + 18.0), Anchor::Middle, &text);
                free = middle + half + 6.0;
            }
        }
        svg.line("axis", (frame.left, frame.bottom), (frame.right, frame.bottom));
        let middle = f64::midpoint(frame.left, frame.right);
        svg.text("quiet", (middle, frame.bottom + 38.0), Anchor::Middle, self.x.name);
        if let Some((limit, name)) = &self.limit {
            let at = y.at(*limit);
            svg.line("limit", (frame.left, at), (frame.right, at));
            // Below the line if it is at the top.
            let text_at = if at < frame.top + 16.0 { at + 14.0 } else { at - 5.0 };
            svg.text("over", (frame.left + 6.0, text_at), Anchor::Start, name);
        }
    }

    /// Name each series beside the end of its line, moved apart where the ends are close together.
    fn name_at_ends(&self, svg: &mut Svg, width: f64, frame: Frame, lines: &[Vec<(f64, f64)>]) {
        let ends: Vec<(usize, (f64, f64))> =
            lines.iter().enumerate().filter_map(|(index, line)| Some((index, *line.last()?))).collect();
        let heights: Vec<f64> = ends.iter().map(|(_, (_, y))| *y).collect();
        let places = spread(&heights, LINE - 2.0, frame.top + 4.0, frame.bottom - 4.0);
        for ((index, (x, y)), place) in ends.into_iter().zip(places) {
            let label = frame.right + 22.0;
            svg.polyline("leader", &[(x + 5.0, y), (frame.right + 8.0, place), (label - 3.0, place)]);
            let name = shorten(&self.series[index].name, width - label);
            svg.text("", (label, place + 4.0), Anchor::Start, &name);
        }
    }

    /// Name the series below the plot, a line each.
    fn name_below(&self, svg: &mut Svg, width: f64, top: f64) {
        for (index, series) in self.series.iter().enumerate() {
            let y = top + index as f64 * LINE;
            svg.polyline(&line_class(index), &[(4.0, y), (36.0, y)]);
            if self.has_markers {
                svg.marker(index, (20.0, y));
            }
            svg.text("", (44.0, y + 4.0), Anchor::Start, &shorten(&series.name, width - 44.0));
        }
    }
}
