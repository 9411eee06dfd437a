//! Where the time of loads went: bars of their phases.

use crate::cli::page::charts::Chart;
use crate::cli::page::svg::{Anchor, SERIES, Svg, shorten, text_width};
use crate::cli::page::table::{NOTHING, Table};
use crate::cli::page::verdicts::spoken;
use crate::cli::render::units::seconds;

/// A bar for each load, all of the same length, as loads may take very different times.
#[derive(Debug)]
pub(in crate::cli::page) struct PhasesChart {
    pub title: String,
    pub loads: Vec<PhasesOfLoad>,
    /// The number of the first loads, which have the same work, so that the fastest and the slowest of them can be named.
    pub compared: usize,
}

/// The phases of a load.
#[derive(Debug, Clone)]
pub(in crate::cli::page) struct PhasesOfLoad {
    pub name: String,
    /// The time of each of [`PHASES`], in seconds.
    seconds: [f64; PHASES.len()],
    /// CPU time of the client and of the server's processes meanwhile, in seconds; `None` where it is not known.
    cpu: [Option<f64>; 2],
}

/// A phase: its name in documents, for readers, and after "went to".
type Phase = (&'static str, &'static str, &'static str);

/// The phases, in their order. While rows are read and encoded, the server works on those before: what is counted as waiting
/// for it is only the time in which the client had nothing else to do.
const PHASES: [Phase; 8] = [
    ("prepare", "prepare", "preparing the table"),
    ("read", "read", "reading the file"),
    ("encode", "encode", "encoding rows"),
    ("write", "send, and wait", "sending rows and waiting for the server to take them"),
    ("confirm", "server: last rows", "the server's work after the last row was sent"),
    ("finish", "indexes, constraints", "building indexes and checking constraints"),
    ("commit", "commit", "the commit"),
    ("analyze", "analyze", "ANALYZE"),
];

/// The thin bars below: whose CPU time they are.
const CPUS: [(&str, &str); 2] = [("ours", "CPU of the client"), ("peer", "CPU of the server")];

impl PhasesOfLoad {
    /// The phases of the load `name`, of which documents know the `seconds` of each. They count reading, encoding and the wait
    /// for the last rows as parts of writing.
    pub(in crate::cli::page) fn new(name: String, seconds: impl Fn(&str) -> Option<f64>) -> PhasesOfLoad {
        let known = |name: &str| seconds(name).unwrap_or_default();
        let time = |(name, ..): Phase| match name {
            "write" => known("write") - known("read") - known("encode") - known("confirm"),
            name => known(name),
        };
        PhasesOfLoad { name, seconds: PHASES.map(|phase| time(phase).max(0.0)), cpu: [None; 2] }
    }

    /// The same load, with the CPU time of the client and of the server.
    pub(in crate::cli::page) fn using(self, cpu: [Option<f64>; 2]) -> PhasesOfLoad {
        PhasesOfLoad { cpu, ..self }
    }

    fn total(&self) -> f64 {
        self.seconds.iter().sum::<f64>().max(f64::MIN_POSITIVE)
    }

    /// The share of the phase numbered `phase`.
    fn share(&self, phase: usize) -> f64 {
        (self.seconds[phase] / self.total()).clamp(0.0, 1.0)
    }

    /// The numbers of the phases, the longest first.
    fn longest(&self) -> Vec<usize> {
        let mut phases: Vec<usize> = (0..PHASES.len()).collect();
        phases.sort_by(|a, b| self.seconds[*b].total_cmp(&self.seconds[*a]));
        phases
    }

    /// Where most of its time went: `42 % to the commit and 30 % to encoding rows`, and the load of the server's CPU.
    fn summary(&self) -> String {
        let longest = self.longest();
        let first = format!("{} went to {}", percent(self.share(longest[0])), PHASES[longest[0]].2);
        let second = Some(longest[1]).filter(|phase| self.share(*phase) >= WORTH_A_WORD);
        let second = second.map(|phase| format!("{} to {}", percent(self.share(phase)), PHASES[phase].2));
        let parts: Vec<String> = [first].into_iter().chain(second).collect();
        let used = self.cpu[1].map(|cpu| format!(", while the server used {} of CPU", seconds(cpu)));
        parts.join(" and ") + &used.unwrap_or_default()
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

/// A phase with a smaller share is not named in the sentence above the chart.
const WORTH_A_WORD: f64 = 0.15;

/// The distance of lines of the key.
const KEY_LINE: f64 = 20.0;

/// An entry of the key: the class of its mark, how high that is, and its name.
type KeyEntry = (String, f64, &'static str);

impl PhasesChart {
    /// The phases that any of the loads has.
    fn phases(&self) -> Vec<usize> {
        let has = |phase: &usize| self.loads.iter().any(|load| load.seconds[*phase] > 0.0);
        (0..PHASES.len()).filter(has).collect()
    }

    /// Whose CPU time is known of any of the loads.
    fn cpus(&self) -> Vec<usize> {
        (0..CPUS.len()).filter(|cpu| self.loads.iter().any(|load| load.cpu[*cpu].is_some())).collect()
    }

    /// The entries of the key, as many on each line as there is room for at `width`.
    fn key(&self, width: f64) -> Vec<Vec<KeyEntry>> {
        let of_phase = |phase: usize| (format!("fill s{}", phase % SERIES), 12.0, PHASES[phase].1);
        let of_cpu = |cpu: usize| (format!("fill {}", CPUS[cpu].0), THIN, CPUS[cpu].1);
        let phases = self.phases().into_iter().map(of_phase).collect();
        let cpus = self.cpus().into_iter().map(of_cpu).collect();
        [phases, cpus].into_iter().flat_map(|entries| lines_of(entries, width)).collect()
    }
}

/// The `entries` on lines of this `width`.
fn lines_of(entries: Vec<KeyEntry>, width: f64) -> Vec<Vec<KeyEntry>> {
    let (mut lines, mut used): (Vec<Vec<KeyEntry>>, f64) = (Vec::new(), f64::INFINITY);
    for entry in entries {
        let needed = key_width(&entry);
        if used + needed > width + 16.0 {
            lines.push(Vec::new());
            used = 0.0;
        }
        used += needed;
        lines.last_mut().expect("there is a line").push(entry);
    }
    lines
}

fn key_width((_, _, name): &KeyEntry) -> f64 {
    text_width(name) + 36.0
}

/// The height of a bar, and of the thin ones below it.
const BAR: f64 = 22.0;
const THIN: f64 = 5.0;

impl Chart for PhasesChart {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn verdict(&self) -> String {
        let text = |load: &PhasesOfLoad| {
            let name = spoken(&load.name, false);
            format!("Of the {} of {name}, {}", seconds(load.total()), load.summary())
        };
        match &self.loads[..self.compared.min(self.loads.len())] {
            [] => "Nothing was measured.".to_owned(),
            [load] => format!("Of {}, {}.", seconds(load.total()), load.summary()),
            loads => {
                let slowest = loads.iter().max_by(|a, b| a.total().total_cmp(&b.total()));
                let fastest = loads.iter().min_by(|a, b| a.total().total_cmp(&b.total()));
                let texts: Vec<String> = fastest.into_iter().chain(slowest).map(text).collect();
                format!("{}.", texts.join(". "))
            }
        }
    }

    fn description(&self) -> String {
        let cpus = if self.cpus().is_empty() {
            ""
        } else {
            " Thin bars below are the CPU times of the client and of the server, which work at the same time, in the same scale."
        };
        format!("Bars of equal length, each divided by the share of every phase in the time of a load.{cpus}")
    }

    fn draw(&self, width: f64) -> Svg {
        let is_narrow = Svg::is_narrow(width);
        let names = self.loads.iter().map(|load| text_width(&load.name)).fold(0.0, f64::max).min(280.0);
        let totals = self.loads.iter().map(|load| text_width(&seconds(load.total()))).fold(0.0, f64::max);
        let (left, right) = if is_narrow { (0.0, width) } else { (names + 14.0, width - totals - 14.0) };
        let (cpus, key) = (self.cpus(), self.key(width));
        let row = if is_narrow { 46.0 } else { 36.0 } + cpus.len() as f64 * (THIN + 1.0);
        let top = key.len() as f64 * KEY_LINE + 8.0;
        let mut svg = Svg::new(width, top + row * self.loads.len() as f64 + 4.0);
        for (line, entries) in key.iter().enumerate() {
            let (mut x, y) = (0.0, line as f64 * KEY_LINE);
            for entry in entries {
                let (class, height, name) = entry;
                svg.rect(class, (x, y + 9.0 - height / 2.0), (12.0, *height));
                svg.text("quiet", (x + 18.0, y + 13.0), Anchor::Start, name);
                x += key_width(entry);
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
            for (line, &cpu) in cpus.iter().enumerate() {
                let share = load.cpu[cpu].unwrap_or_default() / load.total();
                let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
                let y = bar + BAR + 1.0 + line as f64 * (THIN + 1.0);
                svg.rect(&format!("fill {}", CPUS[cpu].0), (left, y), (share * (right - left), THIN));
            }
        }
        svg
    }

    fn table(&self) -> Table {
        let (phases, cpus) = (self.phases(), self.cpus());
        let mut table = Table::new("Time of each phase, and its share", [""]);
        table.head.extend(phases.iter().map(|phase| PHASES[*phase].1.to_owned()));
        table.head.push("together".to_owned());
        table.head.extend(cpus.iter().map(|cpu| CPUS[*cpu].1.to_owned()));
        for load in &self.loads {
            let mut row = vec![load.name.clone()];
            // A load without a phase reports no time for it.
            row.extend(phases.iter().map(|phase| match load.seconds[*phase] {
                time if time > 0.0 => format!("{}, {}", seconds(time), percent(load.share(*phase))),
                _ => NOTHING.to_owned(),
            }));
            row.push(seconds(load.total()));
            row.extend(cpus.iter().map(|cpu| load.cpu[*cpu].map_or_else(|| NOTHING.to_owned(), seconds)));
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
        svg.rect(&format!("fill s{}", phase % SERIES), (x, y), (length - 1.0, BAR));
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
        let chart = PhasesChart { title: String::new(), loads: vec![load], compared: 1 };
        assert_eq!(
            chart.verdict(),
            "Of 2.00 s, 62\u{a0}% went to sending rows and waiting for the server to take them."
        );
    }

    /// The parts of writing are phases of their own, and CPU times, which overlap with all of them, are none.
    #[test]
    fn waiting_is_told_from_the_last_rows_and_from_the_cpu() {
        let load = PhasesOfLoad::new("copy".into(), |phase| match phase {
            "write" => Some(2.0),
            "read" | "encode" => Some(0.25),
            "confirm" => Some(1.0),
            _ => None,
        });
        let load = load.using([Some(0.5), Some(1.5)]);
        let chart = PhasesChart { title: String::new(), loads: vec![load], compared: 1 };
        assert_eq!(
            chart.verdict(),
            "Of 2.00 s, 50\u{a0}% went to the server's work after the last row was sent and 25\u{a0}% to sending rows and \
             waiting for the server to take them, while the server used 1.50 s of CPU."
        );
        let table = chart.table();
        assert_eq!(
            table.head[1..],
            [
                "read",
                "encode",
                "send, and wait",
                "server: last rows",
                "together",
                "CPU of the client",
                "CPU of the server"
            ]
        );
        assert_eq!(
            table.rows[0][3..],
            ["500 ms, 25\u{a0}%", "1.00 s, 50\u{a0}%", "2.00 s", "500 ms", "1.50 s"]
        );
    }
}
