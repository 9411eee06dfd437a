//! Ratio bars: how many times as much as a baseline, with confidence intervals.

use crate::cli::page::charts::Chart;
use crate::cli::page::scale::{Scale, ScaleKind};
use crate::cli::page::svg::{Anchor, BOLD, Svg, shorten, text_width};
use crate::cli::page::table::{NOTHING, Table};
use crate::cli::page::units::{ratio, round};

/// Bars in groups, all on one logarithmic scale: each bar begins at 1, the baseline.
#[derive(Debug)]
pub(in crate::cli::page) struct RatioChart {
    pub title: String,
    /// The sentence above it.
    pub verdict: String,
    /// What the ratios are of: `rate of asyncpg`.
    pub of: String,
    pub groups: Vec<RatioGroup>,
    /// What [`RatioBar::figure`] is: `rows/s`.
    pub unit: &'static str,
    /// What the two colours of bars mean.
    pub colours: [&'static str; 2],
}

/// Bars under a common heading.
#[derive(Debug)]
pub(in crate::cli::page) struct RatioGroup {
    /// The heading; empty for a single group.
    pub name: String,
    pub bars: Vec<RatioBar>,
}

/// One bar.
#[derive(Debug, Clone)]
pub(in crate::cli::page) struct RatioBar {
    pub name: String,
    /// `None` for the baseline, and for what has no result.
    pub ratio: Option<f64>,
    /// The 95 % confidence interval of the ratio; `None` when there is not enough data.
    pub interval: Option<(f64, f64)>,
    /// Whether it has the first of the two colours.
    pub is_ours: bool,
    /// Whether it is no contender, but what none of them can exceed: it may go beyond the scale, which is that of the others.
    pub is_limit: bool,
    /// The figure itself, with its unit.
    pub figure: String,
    /// What stands in the place of the ratio: `baseline`, or why there is none.
    pub note: Option<String>,
}

/// The height of a group's heading.
const HEADING: f64 = 28.0;

/// Ticks of the axis, at most.
const MOST_TICKS: usize = 9;

/// With more groups the ticks are named at the top, too.
const FEW_GROUPS: usize = 3;

/// Between the texts of two ticks, at least.
const GAP: f64 = 8.0;

/// The places of the parts of a chart.
struct Layout {
    is_narrow: bool,
    /// Where the bars begin and end.
    left: f64,
    right: f64,
    width: f64,
    row: f64,
}

impl RatioBar {
    /// About how wide its name is: bold, if it has the first of the two colours.
    fn name_width(&self) -> f64 {
        text_width(&self.name) * if self.is_ours { BOLD } else { 1.0 }
    }

    /// The ratio and its interval, or what stands in their place.
    fn value(&self) -> String {
        match (self.ratio, self.interval, &self.note) {
            (_, _, Some(note)) => note.clone(),
            (Some(value), Some((low, high)), _) => {
                format!("{}× ({}–{})", ratio(value), ratio(low), ratio(high))
            }
            (Some(value), None, _) => format!("{}×", ratio(value)),
            (None, ..) => NOTHING.to_owned(),
        }
    }
}

impl RatioChart {
    fn bars(&self) -> impl Iterator<Item = &RatioBar> {
        self.groups.iter().flat_map(|group| &group.bars)
    }

    fn layout(&self, width: f64) -> Layout {
        if Svg::is_narrow(width) {
            return Layout { is_narrow: true, left: 8.0, right: width - 8.0, width, row: 40.0 };
        }
        let widest = |texts: &mut dyn Iterator<Item = f64>, most: f64| texts.fold(0.0, f64::max).min(most);
        let names = widest(&mut self.bars().map(RatioBar::name_width), 230.0);
        let values = widest(&mut self.bars().map(|bar| text_width(&bar.value())), 190.0);
        let (left, right) = (names + 14.0, width - values - 14.0);
        Layout { is_narrow: false, left, right, width, row: 28.0 }
    }

    fn scale(&self, layout: &Layout) -> Scale {
        let ends = self.bars().filter(|bar| !bar.is_limit).flat_map(|bar| {
            let interval = bar.interval.map(|(low, high)| [low, high]);
            bar.ratio.into_iter().chain(interval.into_iter().flatten())
        });
        Scale::new(ScaleKind::Log, ends.chain([1.0]), layout.left, layout.right)
    }
}

/// Ticks, as many as have room for their texts, and where the middles of these are.
fn labels(scale: &Scale, width: f64) -> Vec<(f64, f64, String)> {
    let of = |most: usize| -> Vec<(f64, f64, String)> {
        let label = |tick: f64| {
            let text = format!("{}×", round(tick));
            let half = text_width(&text) / 2.0;
            (tick, scale.at(tick).min(width - half).max(half), text)
        };
        scale.ticks(most).into_iter().map(label).collect()
    };
    let are_apart = |labels: &[(f64, f64, String)]| {
        labels.windows(2).all(|pair| {
            let [(_, left, before), (_, right, after)] = pair else { return true };
            right - left > f64::midpoint(text_width(before), text_width(after)) + GAP
        })
    };
    let fitting = (2..=MOST_TICKS).rev().map(of).find(|labels| are_apart(labels));
    fitting.unwrap_or_else(|| of(1))
}

impl Chart for RatioChart {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn verdict(&self) -> String {
        self.verdict.clone()
    }

    fn description(&self) -> String {
        let bars: Vec<String> =
            self.bars().map(|bar| format!("{}: {}, {}", bar.name, bar.value(), bar.figure)).collect();
        format!(
            "Horizontal bars on a logarithmic scale from 1, the baseline, with 95 % confidence intervals. {}.",
            bars.join("; ")
        )
    }

    fn draw(&self, width: f64) -> Svg {
        let layout = self.layout(width);
        let scale = self.scale(&layout);
        let headings = self.groups.iter().filter(|group| !group.name.is_empty()).count() as f64;
        let is_tall = self.groups.len() > FEW_GROUPS;
        let (top, rows) = (if is_tall { 48.0 } else { 30.0 }, self.bars().count() as f64);
        let bottom = top + headings * HEADING + rows * layout.row + 6.0;
        let mut svg = Svg::new(width, bottom + 44.0);
        draw_key(&mut svg, self.colours, self.bars().any(|bar| bar.is_limit));
        for (tick, at, text) in labels(&scale, width) {
            let x = scale.at(tick);
            svg.line("grid", (x, top), (x, bottom));
            svg.text("quiet", (at, bottom + 16.0), Anchor::Middle, &text);
            if is_tall {
                svg.text("quiet", (at, top - 6.0), Anchor::Middle, &text);
            }
        }
        svg.line("axis", (scale.at(1.0), top), (scale.at(1.0), bottom));
        let kind = if layout.is_narrow { "" } else { ", logarithmic" };
        let caption = shorten(&format!("ratio to the {}{kind}", self.of), layout.width - 16.0);
        svg.text("quiet", (layout.width / 2.0, bottom + 36.0), Anchor::Middle, &caption);
        let mut y = top;
        for group in &self.groups {
            if !group.name.is_empty() {
                svg.text("over strong", (0.0, y + 20.0), Anchor::Start, &shorten(&group.name, width / BOLD));
                y += HEADING;
            }
            for bar in &group.bars {
                draw_bar(&mut svg, &layout, &scale, y, bar);
                y += layout.row;
            }
        }
        svg
    }

    fn table(&self) -> Table {
        let mut table = Table::new(
            format!("Ratio to the {}", self.of),
            ["", "ratio", "95 % interval", self.unit, "note"],
        );
        for group in &self.groups {
            for bar in &group.bars {
                let name = match group.name.as_str() {
                    "" => bar.name.clone(),
                    group => format!("{group}: {}", bar.name),
                };
                let times = |value: f64| format!("{}×", ratio(value));
                let interval = bar.interval.map(|(low, high)| format!("{}–{}", ratio(low), times(high)));
                let nothing = || NOTHING.to_owned();
                table.row([
                    name,
                    bar.ratio.map_or_else(nothing, times),
                    interval.unwrap_or_else(nothing),
                    bar.figure.clone(),
                    bar.note.clone().unwrap_or_default(),
                ]);
            }
        }
        table
    }
}

/// What the colours mean.
fn draw_key(svg: &mut Svg, [ours, peers]: [&str; 2], has_limit: bool) {
    let mut x = 0.0;
    let limit = if has_limit { "the limit" } else { "" };
    for (class, name) in [("fill ours", ours), ("fill peer", peers), ("hollow", limit)] {
        if !name.is_empty() {
            svg.rect(class, (x, 4.0), (12.0, 12.0));
            svg.text("quiet", (x + 18.0, 14.0), Anchor::Start, name);
            x += 38.0 + text_width(name);
        }
    }
}

/// On a phone the texts are above the bar, otherwise beside it, so that they never meet.
fn draw_bar(svg: &mut Svg, layout: &Layout, scale: &Scale, y: f64, bar: &RatioBar) {
    let (name_at, value_at, middle) = if layout.is_narrow {
        ((0.0, y + 16.0), (layout.width, y + 16.0), y + 28.0)
    } else {
        ((0.0, y + 18.0), (layout.width, y + 18.0), y + 14.0)
    };
    let value = shorten(&bar.value(), if layout.is_narrow { layout.width * 0.6 } else { 190.0 });
    let room = if layout.is_narrow { layout.width - text_width(&value) - 10.0 } else { layout.left - 14.0 };
    let (class, width) = if bar.is_ours { ("over strong", BOLD) } else { ("over", 1.0) };
    svg.text(class, name_at, Anchor::Start, &shorten(&bar.name, (room + 1.0) / width));
    svg.text("over", value_at, Anchor::End, &value);
    let class = match (bar.is_limit, bar.is_ours) {
        (true, _) => "hollow",
        (_, true) => "fill ours",
        (_, false) => "fill peer",
    };
    let (height, one) = (if layout.is_narrow { 12.0 } else { 16.0 }, scale.at(1.0));
    match bar.ratio {
        Some(ratio) => {
            let x = scale.at(ratio);
            // A ratio near 1 is still to be seen.
            let (from, to) = (x.min(one), x.max(one).max(x.min(one) + 2.0));
            svg.rect(class, (from, middle - height / 2.0), (to - from, height));
        }
        None if bar.figure != NOTHING => svg.rect(class, (one - 2.0, middle - height / 2.0), (4.0, height)),
        None => {}
    }
    if let Some(ratio) = bar.ratio
        && !scale.holds(ratio)
    {
        // What the scale has no place for ends with an arrow.
        let end = scale.at(ratio);
        let back = if ratio > 1.0 { end - 6.0 } else { end + 6.0 };
        svg.polyline("mark", &[(back, middle - 5.0), (end, middle), (back, middle + 5.0)]);
        return;
    }
    if let Some((low, high)) = bar.interval.filter(|_| bar.ratio.is_some()) {
        let (low, high) = (scale.at(low), scale.at(high));
        svg.line("mark", (low, middle), (high, middle));
        for end in [low, high] {
            svg.line("mark", (end, middle - 4.0), (end, middle + 4.0));
        }
    }
}
