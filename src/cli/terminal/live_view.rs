//! What is shown while a run goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use postgres_etl::query::{Limits, RunMonitor};
use postgres_etl::query::{RunInProgress, Second};
use tokio::task::JoinHandle;

/// Shows the runs of a meter until it is dropped.
#[derive(Debug)]
pub(crate) struct LiveView {
    bar: Option<ProgressBar>,
    task: JoinHandle<()>,
}

const REDRAW: Duration = Duration::from_millis(250);
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The most seconds that are drawn as bars.
const BARS: usize = 60;

impl LiveView {
    /// A few lines of the terminal, redrawn several times a second and removed at the end.
    pub(crate) fn on_terminal(monitor: &Arc<RunMonitor>) -> LiveView {
        let style = ProgressStyle::with_template("{msg}").expect("the template is a constant");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
        let task = tokio::spawn({
            let (bar, monitor) = (bar.clone(), Arc::clone(monitor));
            async move {
                loop {
                    let picture = monitor.current().map_or_else(String::new, |run| picture(&run));
                    bar.set_message(fit(&picture, columns()));
                    bar.tick();
                    tokio::time::sleep(REDRAW).await;
                }
            }
        });
        LiveView { bar: Some(bar), task }
    }

    /// A line every 10 s of each run, wherever standard error leads.
    pub(crate) fn in_lines(monitor: &Arc<RunMonitor>) -> LiveView {
        let monitor = Arc::clone(monitor);
        let task = tokio::spawn(async move {
            let mut due: Option<(Instant, Instant)> = None;
            loop {
                tokio::time::sleep(REDRAW).await;
                let Some(run) = monitor.current() else { continue };
                let next = match due {
                    Some((started, next)) if started == run.started => next,
                    _ => run.started + LINE_EVERY,
                };
                due = Some((run.started, next));
                if Instant::now() >= next {
                    eprintln!("{}", line(&run.name, run.started.elapsed(), &run.timeline.seconds()));
                    due = Some((run.started, next + LINE_EVERY));
                }
            }
        });
        LiveView { bar: None, task }
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn picture(run: &RunInProgress) -> String {
    lines(&run.name, run.started.elapsed(), run.limits, &run.timeline.seconds())
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

fn lines(what: &str, elapsed: Duration, limits: Limits, seconds: &[Second]) -> String {
    let (done, errors) = done(seconds);
    let by_time = limits.duration.map(|duration| duration.saturating_sub(elapsed));
    let by_count = limits.queries.filter(|_| done > 0).and_then(|queries| {
        let more = queries.saturating_sub(done) as f64 / done as f64;
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * more).ok()
    });
    let left = match by_time.into_iter().chain(by_count).min() {
        Some(left) => format!(", {} left", HumanDuration(left)),
        None => String::new(),
    };
    let of = limits.queries.map_or_else(String::new, |queries| format!(" of {}", HumanCount(queries)));
    let mut lines = vec![format!("{what}: {}{of} queries{left}", HumanCount(done))];
    if let [.., second] = latest(seconds, elapsed, BARS) {
        lines.push(format!(
            "  {}/s, p99 {}, errors {errors}",
            HumanCount(second.answered),
            milliseconds(second.p99_us)
        ));
        lines.push(format!("  {}", sparkline(latest(seconds, elapsed, BARS))));
    }
    lines.join("\n")
}

fn line(what: &str, elapsed: Duration, seconds: &[Second]) -> String {
    let (done, errors) = done(seconds);
    let span = LINE_EVERY.as_secs();
    format!(
        "{what}: {} s, {} queries, errors {errors}; in the last {span} s: {}/s",
        elapsed.as_secs(),
        HumanCount(done),
        HumanCount(rate(seconds, elapsed, span))
    )
}

/// How wide the terminal is that standard error leads to.
fn columns() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| usize::from(size.ws_col).max(1))
}

/// `picture` with its lines cut to `columns`: one that wraps would be two.
fn fit(picture: &str, columns: usize) -> String {
    let cut = |line: &str| match line.char_indices().nth(columns) {
        // The last column stays free for what is left out.
        Some(_) => line.chars().take(columns - 1).chain(['…']).collect(),
        None => line.to_owned(),
    };
    picture.lines().map(cut).collect::<Vec<String>>().join("\n")
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
    use super::*;

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
            lines("by-id", Duration::from_millis(3700), limits, &seconds()),
            "by-id: 351 of 1,404 queries, 11 seconds left\n  200/s, p99 2.50 ms, errors 1\n  ▄█"
        );
        let limits = Limits { queries: None, duration: Some(Duration::from_secs(60)) };
        assert_eq!(lines("by-id", Duration::ZERO, limits, &[]), "by-id: 0 queries, 60 seconds left");
    }

    #[test]
    fn no_line_of_the_picture_wraps() {
        assert_eq!(fit("by-id: 351\n  ▄█", 10), "by-id: 351\n  ▄█");
        assert_eq!(fit("by-id: 351\n  ▄█", 9), "by-id: 3…\n  ▄█");
        assert_eq!(fit("by-id\n  ▄█", 1), "…\n…");
    }

    #[test]
    fn a_line_says_the_same() {
        assert_eq!(
            line("by-id", Duration::from_secs(3), &seconds()),
            "by-id: 3 s, 351 queries, errors 1; in the last 10 s: 150/s"
        );
        // The server has been silent for 8 of the 10 seconds.
        assert_eq!(
            line("by-id", Duration::from_secs(12), &seconds()),
            "by-id: 12 s, 351 queries, errors 1; in the last 10 s: 25/s"
        );
    }
}
