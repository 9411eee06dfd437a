//! The line that shows which phase a command is in, and how far it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use postgres_etl::{CurrentPhase, Phase, Progress, Total};
use tokio::task::JoinHandle;

use crate::cli::render::units::{count, counted};
use crate::cli::terminal::screen::{Drawing, Pen, columns};
use crate::cli::terminal::{Display, LINE_EVERY, duration, left, messages};

/// How often the drawing changes.
const REDRAW: Duration = Duration::from_millis(100);

/// The width of the bar, in characters.
const BAR: usize = 24;

/// Shows the progress of a command on standard error until it is dropped.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    task: Option<JoinHandle<()>>,
    /// After the task, which draws on it.
    _drawing: Option<Drawing>,
}

impl ProgressLine {
    /// Show `progress` as `display` says.
    pub(crate) fn show(display: Display, progress: &Arc<Progress>) -> ProgressLine {
        let progress = Arc::clone(progress);
        match display {
            Display::Nothing => ProgressLine { task: None, _drawing: None },
            Display::Drawn => {
                let drawing = Drawing::begin();
                let task = tokio::spawn(draw(drawing.pen(), progress));
                ProgressLine { task: Some(task), _drawing: Some(drawing) }
            }
            Display::Lines => {
                let task = tokio::spawn(print(progress, LINE_EVERY, |line| messages::say(&line)));
                ProgressLine { task: Some(task), _drawing: None }
            }
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn draw(pen: Pen, progress: Arc<Progress>) {
    loop {
        tokio::time::sleep(REDRAW).await;
        if let Some(current) = progress.phase() {
            let state = State::new(&current, progress.rows(), progress.bytes(), Instant::now());
            pen.draw(&state.drawn(columns()));
        }
    }
}

/// Print a line each time after `every`.
async fn print(progress: Arc<Progress>, every: Duration, print: impl Fn(String)) {
    loop {
        tokio::time::sleep(every).await;
        if let Some(current) = progress.phase() {
            print(State::new(&current, progress.rows(), progress.bytes(), Instant::now()).line());
        }
    }
}

/// How far the current phase is.
#[derive(Debug, PartialEq)]
struct State {
    phase: Phase,
    /// The part of its total that is done, from 0 to 1; `None` if it has none, or if nothing of it is left.
    share: Option<f64>,
    /// What else there is to say: counts, a rate, the time that is left or has passed.
    facts: Vec<String>,
}

impl State {
    fn new(current: &CurrentPhase, rows: u64, bytes: u64, now: Instant) -> State {
        let CurrentPhase { phase, since, total, detail } = current;
        let elapsed = now.saturating_duration_since(*since);
        let share = match *total {
            Some(Total::Rows(total)) if total > 0 => Some(rows as f64 / total as f64),
            Some(Total::Bytes(total)) if total > 0 => Some(bytes as f64 / total as f64),
            _ => None,
        };
        let counts = matches!(
            phase,
            Phase::Generating
                | Phase::CreatingAccounts
                | Phase::InferringTypes
                | Phase::Reading
                | Phase::ReadingAgain
        );
        let mut facts = Vec::new();
        if counts {
            facts.push(counted(rows, "row"));
        }
        // What is read may still be on its way to the table.
        let share = match share {
            Some(1.0..) => {
                facts.extend(
                    matches!(phase, Phase::Reading | Phase::ReadingAgain)
                        .then(|| "all read, waiting for the server".to_owned()),
                );
                facts.push(duration(elapsed));
                return State { phase: *phase, share: None, facts };
            }
            share => share,
        };
        if counts && !elapsed.is_zero() {
            facts.push(format!("{}/s", count((rows as f64 / elapsed.as_secs_f64()).round() as u64)));
        }
        facts.extend(detail.clone());
        facts.push(match share.filter(|share| *share > 0.0) {
            Some(share) => left(elapsed.mul_f64((1.0 - share) / share)),
            None => duration(elapsed),
        });
        State { phase: *phase, share, facts }
    }

    /// For a terminal of this many `columns`: with a bar where there is room for it.
    fn drawn(&self, columns: usize) -> String {
        let Some(share) = self.share else { return self.line() };
        let done = (share * BAR as f64) as usize;
        let bar = format!("[{:<BAR$}]", "=".repeat(done) + ">");
        let line = format!("{} {bar} {} %  {}", self.phase, percent(share), self.facts.join(", "));
        if line.chars().count() > columns { self.line() } else { line }
    }

    fn line(&self) -> String {
        let share = self.share.map(|share| format!("{} %", percent(share)));
        let facts: Vec<String> = share.into_iter().chain(self.facts.iter().cloned()).collect();
        format!("{}: {}", self.phase, facts.join(", "))
    }
}

/// Rounded down: what is not finished is not at 100 %.
fn percent(share: f64) -> u64 {
    (share * 100.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(phase: Phase, total: Option<Total>, rows: u64, bytes: u64, detail: Option<&str>) -> State {
        let since = Instant::now();
        let current = CurrentPhase { phase, since, total, detail: detail.map(str::to_owned) };
        State::new(&current, rows, bytes, since + Duration::from_secs(8))
    }

    #[test]
    fn the_line_tells_the_truth_about_every_phase() {
        let bytes = Some(Total::Bytes(1000));
        for (state, line) in [
            (
                state(Phase::InferringTypes, bytes, 4000, 400, None),
                "inferring types: 40 %, 4,000 rows, 500/s, 12 s left",
            ),
            (state(Phase::Reading, bytes, 0, 0, None), "reading: 0 %, 0 rows, 0/s, 8 s"),
            (state(Phase::Reading, bytes, 9999, 999, None), "reading: 99 %, 9,999 rows, 1,250/s, 1 s left"),
            (
                state(Phase::Reading, bytes, 9999, 1000, None),
                "reading: 9,999 rows, all read, waiting for the server, 8 s",
            ),
            (state(Phase::Reading, None, 80, 7, None), "reading: 80 rows, 10/s, 8 s"),
            (
                state(Phase::BuildingIndex { number: 2, of: 3 }, None, 9, 9, Some("scanning table, 45 %")),
                "building index 2 of 3: scanning table, 45 %, 8 s",
            ),
            (state(Phase::Committing, None, 9, 9, None), "committing: 8 s"),
            (
                state(Phase::Generating, Some(Total::Rows(100)), 50, 7, None),
                "generating: 50 %, 50 rows, 6/s, 8 s left",
            ),
        ] {
            assert_eq!(state.line(), line);
        }
    }

    #[test]
    fn a_narrow_terminal_has_no_bar() {
        let state = state(Phase::Reading, Some(Total::Bytes(1000)), 4000, 500, None);
        let wide = "reading [============>           ] 50 %  4,000 rows, 500/s, 8 s left";
        assert_eq!(state.drawn(wide.len()), wide);
        assert_eq!(state.drawn(wide.len() - 1), "reading: 50 %, 4,000 rows, 500/s, 8 s left");
    }

    #[tokio::test]
    async fn where_nothing_is_drawn_a_line_is_printed_now_and_then() {
        let progress = Arc::new(Progress::default());
        let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
        progress.begin(Phase::Committing, None);
        let printing = print(Arc::clone(&progress), Duration::from_millis(1), move |line| {
            let _ = sender.send(line);
        });
        let task = tokio::spawn(printing);
        assert_eq!(lines.recv().await.unwrap(), "committing: 0 s");
        progress.begin(Phase::Analyzing, None);
        while !lines.recv().await.unwrap().starts_with("analyzing: ") {}
        task.abort();
    }
}
