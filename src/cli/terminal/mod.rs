//! What is drawn and printed on a terminal.

pub(crate) mod fold;
pub(crate) mod live_view;
pub(crate) mod log;
pub(crate) mod messages;
pub(crate) mod progress_line;
pub(crate) mod screen;

use std::io::IsTerminal as _;
use std::time::Duration;

/// How a command shows what it is doing, on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Display {
    /// Not at all.
    Nothing,
    /// Drawn, and redrawn several times a second.
    Drawn,
    /// As a line every [`LINE_EVERY`].
    Lines,
}

/// How often a line is printed where nothing is drawn.
pub(crate) const LINE_EVERY: Duration = Duration::from_secs(10);

impl Display {
    /// What fits standard error, unless `quiet`.
    pub(crate) fn new(quiet: bool) -> Display {
        match quiet {
            true => Display::Nothing,
            false if std::io::stderr().is_terminal() => Display::Drawn,
            false => Display::Lines,
        }
    }
}

/// The `time` that is left, of which there is some until there is none: `40 s left`.
pub(crate) fn left(time: Duration) -> String {
    let seconds = time.as_secs_f64().round().max(1.0);
    format!("{} left", duration(Duration::from_secs(seconds as u64)))
}

/// A time that has passed: `40 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
