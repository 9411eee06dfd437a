//! Where the time of loads went: bars of their phases.

use crate::cli::page::charts::Chart;
use crate::cli::page::svg::{Anchor, SERIES, Svg, shorten, text_width};
use crate::cli::page::table::{NOTHING, Table};
use crate::cli::render::units::seconds;

/// A bar for each load, all of the same length, as loads may take very different times.
#[derive(Debug)]
pub(in crate::cli::page) struct PhasesChart {
    pub title: String,
    pub loads: Vec<PhasesOfLoad>,
}

/// The phases of a load.
#[derive(Debug, Clone)]
pub(in crate::cli::page) struct PhasesOfLoad {
    pub name: String,
    /// The time of each of [`PHASES`], in seconds.
    seconds: [f64; PHASES.len()],
}

/// The phases, in their order: their names in documents, and for readers.
const PHASES: [(&str, &str); 7] = [
    ("prepare", "prepare"),
    ("read", "read"),
    ("encode", "encode"),
    ("write", "wait for the server"),
    ("finish", "indexes, constraints"),
    ("commit", "commit"),
    ("analyze", "analyze"),
];

impl PhasesOfLoad {
    /// The phases of the load `name`, of which documents know the `seconds` of each. They count reading and encoding as
    /// parts of writing.
    pub(in crate::cli::page) fn new(name: String, seconds: impl Fn(&str) -> Option<f64>) -> PhasesOfLoad {
        let known = |name: &str| seconds(name).unwrap_or_default();
        let time = |(name, _): (&str, &str)| match name {
            "write" => known("write") - known("read") - known("encode"),
            name => known(name),
        };
        PhasesOfLoad { name, seconds: PHASES.map(|phase| time(phase).max(0.0)) }
    }

    fn total(&self) -> f64 {
        self.seconds.iter().sum::<f64>().max(f64::MIN_POSITIVE)
    }

    /// The share of the phase numbered `phase`.
    fn share(&self, phase: usize) -> f64 {
        (self.seconds[phase] / self.total()).clamp(0.0, 1.0)
    }

    /// The number of the longest phase.
    fn longest(&self) -> usize {
        (0..PHASES.len()).max_by(|a, b| self.seconds[*a].total_cmp(&self.seconds[*b])).unwrap_or_default()
    }
}

/// A share as a percentage, which is not torn apart at the end of a line; what is there is not called nothing.
fn percent(share: f64) -> String {
    let number = match share * 100.0 {
        0.0 => "0".to_owned(),
        ..0.1 => "<0.1".to_owned(),
        percent @ ..1.0 => format!("{percent:.1}"),
        percent => format!("{percent:.0}"),
    };
    number + "\u{a0}%"
}

/// The phases on each line of the key, as many as there is room for at `width`.
fn key_lines(width: f64) -> Vec<Vec<usize>> {
    let mut lines: Vec<Vec<usize>> = vec![Vec::new()];
    let mut used = 0.0;
    for (phase, (_, name)) in PHASES.iter().enumerate() {
        let needed = text_width(name) + 36.0;
        if used + needed > width + 16.0 {
            lines.push(Vec::new());
            used = 0.0;
        }
        used += needed;
        lines.last_mut().expect("there is a line").push(phase);
    }
    lines
}

impl Chart for PhasesChart {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn verdict(&self) -> String {
        let of = |load: &PhasesOfLoad| {
            let longest = load.longest();
            let (name, share) = (PHASES[longest].1, percent(load.share(longest)));
            (name, share, seconds(load.total()))
        };
        match self.loads.as_slice() {
            [] => "Nothing was measured.".to_owned(),
            [load] => {
                let (phase, share, total) = of(load);
                format!("Of {total}, {share} went to: {phase}.")
            }
            loads => {
                let slowest = loads.iter().max_by(|a, b| a.total().total_cmp(&b.total()));
                let fastest = loads.iter().min_by(|a, b| a.total().total_cmp(&b.total()));
                let text = |load: &PhasesOfLoad| {
                    let (phase, share, total) = of(load);
                    format!("{} spent {share} of its {total} on: {phase}", load.name)
                };
                let texts: Vec<String> = fastest.into_iter().chain(slowest).map(text).collect();
                format!("{}.", texts.join("; "))
            }
        }
    }

    fn description(&self) -> String {
        "Bars of equal length, each divided by the share of every phase in the time of a load.".to_owned()
    }

    fn draw(&self, width: f64) -> Svg {
        let is_narrow = Svg::is_narrow(width);
        let names = self.loads.iter().map(|load| text_width(&load.name)).fold(0.0, f64::max).min(230.0);
        let totals = self.loads.iter().map(|load| text_width(&seconds(load.total()))).fold(0.0, f64::max);
        let (left, right) = if is_narrow { (0.0, width) } else { (names + 14.0, width - totals - 14.0) };
        let (row, lines) = (if is_narrow { 46.0 } else { 36.0 }, key_lines(width));
        let top = lines.len() as f64 * 20.0 + 8.0;
        let mut svg = Svg::new(width, top + row * self.loads.len() as f64 + 4.0);
        for (line, phases) in lines.iter().enumerate() {
            let (mut x, y) = (0.0, line as f64 * 20.0);
            for &phase in phases {
                svg.rect(&format!("fill s{}", phase % SERIES), (x, y + 3.0), (12.0, 12.0));
                svg.text("quiet", (x + 18.0, y + 13.0), Anchor::Start, PHASES[phase].1);
                x += text_width(PHASES[phase].1) + 36.0;
            }
        }
        for (index, load) in self.loads.iter().enumerate() {
            let y = top + index as f64 * row;
            let (text, bar) = if is_narrow { (y + 14.0, y + 20.0) } else { (y + 19.0, y + 3.0) };
            let total = seconds(load.total());
            let room = if is_narrow { width - text_width(&total) - 10.0 } else { left - 13.0 };
            svg.text("", (0.0, text), Anchor::Start, &shorten(&load.name, room));
            svg.text("", (width, text), Anchor::End, &total);
            draw_bar(&mut svg, load, (left, right), bar);
        }
        svg
    }

    fn table(&self) -> Table {
        let mut table = Table::new("Time of each phase, and its share", [""]);
        table.head.extend(PHASES.map(|(_, name)| name.to_owned()));
        table.head.push("together".to_owned());
        for load in &self.loads {
            let mut row = vec![load.name.clone()];
            // A load without a phase reports no time for it.
            row.extend((0..PHASES.len()).map(|phase| match load.seconds[phase] {
                time if time > 0.0 => format!("{}, {}", seconds(time), percent(load.share(phase))),
                _ => NOTHING.to_owned(),
            }));
            row.push(seconds(load.total()));
            table.rows.push(row);
        }
        table
    }
}

/// The bar of `load` at `y`. Shares are written below or in it only where there is room; the table has all.
fn draw_bar(svg: &mut Svg, load: &PhasesOfLoad, (left, right): (f64, f64), y: f64) {
    let mut x = left;
    for phase in 0..PHASES.len() {
        let length = load.share(phase) * (right - left);
        // A gap keeps neighbours apart where colours do not.
        svg.rect(&format!("fill s{}", phase % SERIES), (x, y), (length - 1.0, 22.0));
        let text = percent(load.share(phase));
        if text_width(&text) + 8.0 <= length {
            svg.text("inside", (x + length / 2.0, y + 15.5), Anchor::Middle, &text);
        }
        x += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_share_is_not_called_nothing() {
        assert_eq!(
            [0.0, 0.0004, 0.004, 0.7234, 1.0].map(percent),
            ["0\u{a0}%", "<0.1\u{a0}%", "0.4\u{a0}%", "72\u{a0}%", "100\u{a0}%"]
        );
    }

    #[test]
    fn the_verdict_names_the_longest_phase() {
        let load = PhasesOfLoad::new("copy".into(), |phase| match phase {
            "prepare" | "finish" | "encode" => Some(0.25),
            "write" => Some(1.5),
            _ => None,
        });
        let chart = PhasesChart { title: String::new(), loads: vec![load] };
        assert_eq!(chart.verdict(), "Of 2.00 s, 62\u{a0}% went to: wait for the server.");
    }
}
