//! Lines through points between two axes: what several charts are made of.

use crate::cli::page::scale::{Scale, ScaleKind, spread};
use crate::cli::page::svg::{Anchor, BOLD, Svg, line_class, shorten, text_width};

/// A line.
#[derive(Debug, Clone)]
pub(in crate::cli::page) struct Series {
    pub name: String,
    /// Whether it stands out from the others.
    pub is_bold: bool,
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

/// The distance of names at the ends of lines.
const NAME: f64 = LINE - 2.0;

/// How much lower than the end of its line a name may be that stands beside it, in the order of preference.
const SHIFTS: [f64; 9] = [4.0, -8.0, 16.0, -16.0, 24.0, -26.0, 34.0, -38.0, 46.0];

impl LinePlot<'_> {
    /// The height of the whole drawing, with `plot` for the frame.
    pub(super) fn height(&self, width: f64, plot: f64) -> f64 {
        let key = if self.has_key(width, plot) { self.series.len() as f64 * LINE + 8.0 } else { 0.0 };
        26.0 + plot + 46.0 + key
    }

    /// Whether the series are named below the plot.
    fn has_key(&self, width: f64, plot: f64) -> bool {
        let has_room = self.series.len() as f64 * NAME <= plot - 8.0;
        self.series.len() > 1 && (Svg::is_narrow(width) || !has_room)
    }

    /// Draw it below `top`, with `plot` for the height of the frame.
    pub(super) fn draw(&self, svg: &mut Svg, width: f64, top: f64, plot: f64) {
        let y_values: Vec<f64> =
            self.values(|(_, y)| y).chain(self.limit.iter().map(|limit| limit.0)).collect();
        let y = |from, to| Scale::new(self.y.kind, y_values.iter().copied(), from, to);
        let texts = y(0.0, 1.0).ticks(6).into_iter().map(self.y.text);
        let left = texts.map(|text| text_width(&text)).fold(20.0, f64::max) + 8.0;
        let wide = |series: &Series| text_width(&series.name) * if series.is_bold { BOLD } else { 1.0 };
        let names = self.series.iter().map(wide).fold(0.0, f64::max);
        let at_ends = self.series.len() > 1 && !self.has_key(width, plot);
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
        for (index, (line, series)) in lines.iter().zip(self.series).enumerate() {
            svg.polyline(&class_of(index, series), line);
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
        } else if self.has_key(width, plot) {
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

    /// Name each series beside the end of its line. The names of those that end with the plot are moved apart; those of lines
    /// that end before are where they meet nothing, if there is such a place.
    fn name_at_ends(&self, svg: &mut Svg, width: f64, frame: Frame, lines: &[Vec<(f64, f64)>]) {
        let ends: Vec<(usize, (f64, f64))> =
            lines.iter().enumerate().filter_map(|(index, line)| Some((index, *line.last()?))).collect();
        let last = ends.iter().map(|(_, (x, _))| *x).fold(f64::MIN, f64::max);
        let (at_end, before): (Vec<_>, Vec<_>) = ends.into_iter().partition(|(_, (x, _))| *x > last - NAME);
        let heights: Vec<f64> = at_end.iter().map(|(_, (_, y))| *y).collect();
        let places = spread(&heights, NAME, frame.top + 4.0, frame.bottom - 4.0);
        let label = frame.right + 22.0;
        let mut named: Vec<Frame> = Vec::new();
        for ((index, (x, y)), place) in at_end.into_iter().zip(places) {
            svg.polyline("leader", &[(x + 5.0, y), (frame.right + 8.0, place), (label - 3.0, place)]);
            self.name(svg, index, (label, place + 4.0), width - label);
            let (left, right) = (frame.right, width);
            named.push(Frame { left, top: place - 8.0, right, bottom: place + 8.0 });
        }
        for (index, (x, y)) in before {
            let left = x + 9.0;
            let long =
                text_width(&self.series[index].name) * if self.series[index].is_bold { BOLD } else { 1.0 };
            let place = |right: f64, shift: f64| Frame {
                left,
                top: y + shift - 11.0,
                right: right.min(left + long),
                bottom: y + shift + 3.0,
            };
            let fits = |place: &Frame| place.top > frame.top - 8.0 && place.bottom < frame.bottom;
            let is_apart = |place: &Frame| !named.iter().any(|other| other.meets(place));
            let is_free = |place: &Frame| !lines.iter().any(|line| place.is_crossed_by(line));
            // As long as it is, or else as long as there is room for it before the names at the end.
            let rights = [width - 2.0, frame.right - 2.0].into_iter();
            let places: Vec<Frame> = rights
                .flat_map(|right| SHIFTS.map(|shift| place(right, shift)))
                .filter(|place| fits(place) && is_apart(place))
                .collect();
            let best = places.iter().find(|place| is_free(place)).or(places.first()).copied();
            let best = best.unwrap_or_else(|| place(frame.right - 2.0, SHIFTS[0]));
            self.name(svg, index, (left, best.bottom - 3.0), best.right - left);
            named.push(best);
        }
    }

    /// Write the name of the series `index`, as long as there is room for it.
    fn name(&self, svg: &mut Svg, index: usize, at: (f64, f64), room: f64) {
        let Series { name, is_bold, .. } = &self.series[index];
        let (class, wide) = if *is_bold { ("over strong", BOLD) } else { ("over", 1.0) };
        svg.text(class, at, Anchor::Start, &shorten(name, (room + 1.0) / wide));
    }

    /// Name the series below the plot, a line each.
    fn name_below(&self, svg: &mut Svg, width: f64, top: f64) {
        for (index, series) in self.series.iter().enumerate() {
            let y = top + index as f64 * LINE;
            svg.polyline(&class_of(index, series), &[(4.0, y), (36.0, y)]);
            if self.has_markers {
                svg.marker(index, (20.0, y));
            }
            self.name(svg, index, (44.0, y + 4.0), width - 44.0);
        }
    }
}

/// The classes of the line of `series`, the one numbered `index`.
fn class_of(index: usize, series: &Series) -> String {
    line_class(index) + if series.is_bold { " bold" } else { "" }
}

impl Frame {
    fn meets(&self, other: &Frame) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    /// Whether a part of `line` lies inside, looked for at short distances.
    fn is_crossed_by(&self, line: &[(f64, f64)]) -> bool {
        const STEPS: u32 = 100;
        line.windows(2).any(|pair| {
            let [(x, y), (to_x, to_y)] = pair else { return false };
            (0..=STEPS).map(|step| f64::from(step) / f64::from(STEPS)).any(|share| {
                let (x, y) = (x + share * (to_x - x), y + share * (to_y - y));
                x > self.left && x < self.right && y > self.top && y < self.bottom
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::page::svg::WIDE;
    use crate::cli::page::units::round;

    /// The name of a line that ends early stands beside its end: a leader to the end of the plot would cross other lines.
    #[test]
    fn a_line_that_ends_early_is_named_at_its_end() {
        let series = |name: &str, points: &[(f64, f64)]| Series {
            name: name.to_owned(),
            is_bold: name == "ours",
            points: points.to_vec(),
        };
        let series = [
            series("short", &[(0.0, 9.0), (5.0, 9.0)]),
            series("long", &[(0.0, 1.0), (10.0, 2.0)]),
            series("ours", &[(0.0, 2.0), (10.0, 3.0)]),
        ];
        let axis = || Axis { kind: ScaleKind::Linear, name: "", text: round, ticks: Vec::new() };
        let plot = LinePlot { series: &series, x: axis(), y: axis(), limit: None, has_markers: false };
        let mut svg = Svg::new(WIDE, plot.height(WIDE, 200.0));
        plot.draw(&mut svg, WIDE, 0.0, 200.0);
        let drawn = svg.finish("", "f", "", "");
        assert_eq!(drawn.matches("class=\"leader\"").count(), 2, "{drawn}");
        let at = |name: &str| {
            let (before, _) = drawn.split_once(&format!(">{name}</text>")).unwrap();
            let x = before.rsplit_once(" x=\"").unwrap().1.split('"').next().unwrap();
            x.parse::<f64>().unwrap()
        };
        assert!(at("short") < at("long") - 100.0 && at("long").total_cmp(&at("ours")).is_eq(), "{drawn}");
        assert_eq!(drawn.matches("over strong").count(), 1);
    }

    #[test]
    fn many_lines_are_named_below_the_plot() {
        let many: Vec<Series> = (0..30)
            .map(|number| Series {
                name: format!("line {number}"),
                is_bold: false,
                points: vec![(0.0, f64::from(number)), (1.0, f64::from(number))],
            })
            .collect();
        let axis = || Axis { kind: ScaleKind::Linear, name: "", text: round, ticks: Vec::new() };
        let plot = |series| LinePlot { series, x: axis(), y: axis(), limit: None, has_markers: false };
        assert!(plot(&many[..]).has_key(WIDE, 320.0) && !plot(&many[..13]).has_key(WIDE, 320.0));
    }
}
