//! What is shown while a run goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use postgres_etl::query::{RunInProgress, RunMonitor, Second, StepInProgress};
use tokio::task::JoinHandle;

use crate::cli::render::units::{count, queries_or_transactions};
use crate::cli::terminal::screen::{Drawing, Pen};
use crate::cli::terminal::{Display, LINE_EVERY, duration, left, messages};

/// Shows the preparation and the runs of a meter until it is dropped.
#[derive(Debug)]
pub(crate) struct LiveView {
    task: Option<JoinHandle<()>>,
    /// After the task, which draws on it.
    _drawing: Option<Drawing>,
}

const REDRAW: Duration = Duration::from_millis(250);

/// The most seconds that are drawn as bars.
const BARS: usize = 60;

impl LiveView {
    /// Show what `monitor` sees, as `display` says: a few lines of the terminal, or a line every 10 s of each step and each
    /// run.
    pub(crate) fn show(display: Display, monitor: &Arc<RunMonitor>) -> LiveView {
        let monitor = Arc::clone(monitor);
        match display {
            Display::Nothing => LiveView { task: None, _drawing: None },
            Display::Drawn => {
                let drawing = Drawing::begin();
                let task = tokio::spawn(draw(drawing.pen(), monitor));
                LiveView { task: Some(task), _drawing: Some(drawing) }
            }
            Display::Lines => LiveView { task: Some(tokio::spawn(print(monitor))), _drawing: None },
        }
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn draw(pen: Pen, monitor: Arc<RunMonitor>) {
    loop {
        pen.draw(&match (monitor.current(), monitor.step()) {
            (Some(run), _) => picture(&run),
            (None, Some(step)) => step_line(&step),
            (None, None) => String::new(),
        });
        tokio::time::sleep(REDRAW).await;
    }
}

async fn print(monitor: Arc<RunMonitor>) {
    let mut due: Option<(Instant, Instant)> = None;
    loop {
        tokio::time::sleep(REDRAW).await;
        let run = monitor.current();
        let step = monitor.step().filter(|_| run.is_none());
        let Some(started) = run.as_ref().map(|run| run.started).or(step.as_ref().map(|step| step.started))
        else {
            continue;
        };
        let next = match due {
            Some((known, next)) if known == started => next,
            _ => started + LINE_EVERY,
        };
        due = Some((started, next));
        if Instant::now() < next {
            continue;
        }
        due = Some((started, next + LINE_EVERY));
        match (run, step) {
            (Some(run), _) => {
                messages::say(&line(&run, run.started.elapsed(), &run.timeline.seconds()));
            }
            (None, Some(step)) => messages::say(&step_line(&step)),
            (None, None) => {}
        }
    }
}

/// What is prepared, and for how long already.
fn step_line(StepInProgress { name, started }: &StepInProgress) -> String {
    format!("{name}: {}", duration(started.elapsed()))
}

fn picture(run: &RunInProgress) -> String {
    lines(run, run.started.elapsed(), &run.timeline.seconds())
}

/// The last complete seconds, at most `span`. A connection hands a second over with its first result after it, so the
/// most recent second is not complete yet.
fn latest(seconds: &[Second], elapsed: Duration, span: usize) -> &[Second] {
    let end = seconds.len().min((elapsed.as_secs() as usize).saturating_sub(1));
    &seconds[end.saturating_sub(span)..end]
}

/// The rate over the last complete seconds, at most `span`, including those without any result.
fn rate(seconds: &[Second], elapsed: Duration, span: u64) -> u64 {
    let end = elapsed.as_secs().saturating_sub(1);
    let begin = end.saturating_sub(span);
    let recent = seconds.iter().filter(|second| (begin..end).contains(&second.second));
    recent.map(|second| second.answered).sum::<u64>() / (end - begin).max(1)
}

fn done(seconds: &[Second]) -> (u64, u64) {
    seconds.iter().fold((0, 0), |(done, errors), second| {
        (done + second.answered + second.errors, errors + second.errors)
    })
}

fn lines(run: &RunInProgress, elapsed: Duration, seconds: &[Second]) -> String {
    let RunInProgress { name, limits, counts_transactions, .. } = run;
    let (_, many) = queries_or_transactions(*counts_transactions);
    let (done, errors) = done(seconds);
    let by_time = limits.duration.map(|duration| duration.saturating_sub(elapsed));
    let by_count = limits.queries.filter(|_| done > 0).and_then(|queries| {
        let more = queries.saturating_sub(done) as f64 / done as f64;
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * more).ok()
    });
    let remaining = match by_time.into_iter().chain(by_count).min() {
        Some(time) => format!(", {}", left(time)),
        None => String::new(),
    };
    let of = limits.queries.map_or_else(String::new, |queries| format!(" of {}", count(queries)));
    let mut lines = vec![format!("{name}: {}{of} {many}{remaining}", count(done))];
    if let [.., second] = latest(seconds, elapsed, BARS) {
        lines.push(format!(
            "  {}/s, p99 {}, errors {errors}",
            count(second.answered),
            milliseconds(second.p99_us)
        ));
        lines.push(format!("  {}", sparkline(latest(seconds, elapsed, BARS))));
    }
    lines.join("\n")
}

fn line(run: &RunInProgress, elapsed: Duration, seconds: &[Second]) -> String {
    let (done, errors) = done(seconds);
    let (_, many) = queries_or_transactions(run.counts_transactions);
    let span = LINE_EVERY.as_secs();
    format!(
        "{}: {} s, {} {many}, errors {errors}; in the last {span} s: {}/s",
        run.name,
        elapsed.as_secs(),
        count(done),
        count(rate(seconds, elapsed, span))
    )
}

fn milliseconds(micros: f64) -> String {
    format!("{:.2} ms", micros / 1e3)
}

/// The rate of the last seconds, as bars.
fn sparkline(seconds: &[Second]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = seconds.iter().map(|second| second.answered).max().unwrap_or(0).max(1);
    seconds.iter().map(|second| LEVELS[(second.answered * 7 / most) as usize]).collect()
}

#[cfg(test)]
mod tests {
    use postgres_etl::query::Limits;

    use super::*;

    fn run(limits: Limits, counts_transactions: bool) -> RunInProgress {
        RunInProgress {
            name: "by-id".to_owned(),
            is_measured: true,
            counts_transactions,
            started: Instant::now(),
            limits,
            timeline: Arc::default(),
        }
    }

    fn seconds() -> Vec<Second> {
        [(100, 0), (200, 1), (50, 0)]
            .into_iter()
            .zip(0..)
            .map(|((answered, errors), second)| Second {
                second,
                answered,
                errors,
                p50_us: 1000.0,
                p99_us: 2500.0,
                max_us: 9000.0,
            })
            .collect()
    }

    #[test]
    fn the_picture_shows_the_last_second_that_is_over() {
        let limits = Limits { queries: Some(1404), duration: None };
        assert_eq!(
            lines(&run(limits, false), Duration::from_millis(3700), &seconds()),
            "by-id: 351 of 1,404 queries, 11 s left\n  200/s, p99 2.50 ms, errors 1\n  ▄█"
        );
        let limits = Limits { queries: None, duration: Some(Duration::from_secs(60)) };
        let run = run(limits, true);
        assert_eq!(lines(&run, Duration::ZERO, &[]), "by-id: 0 transactions, 1 min 0 s left");
    }

    #[test]
    fn a_line_says_the_same() {
        let limits = Limits { queries: None, duration: None };
        assert_eq!(
            line(&run(limits, false), Duration::from_secs(3), &seconds()),
            "by-id: 3 s, 351 queries, errors 1; in the last 10 s: 150/s"
        );
        // The server has been silent for 8 of the 10 seconds.
        assert_eq!(
            line(&run(limits, true), Duration::from_secs(12), &seconds()),
            "by-id: 12 s, 351 transactions, errors 1; in the last 10 s: 25/s"
        );
    }
}
