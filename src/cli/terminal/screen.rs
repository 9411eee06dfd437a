//! What is drawn on the terminal of standard error now, and how to print beside it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The drawing on the screen; there is only one terminal.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Lines at the bottom of the terminal that are redrawn while a command runs, and removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Drawing(ProgressBar);

impl Drawing {
    /// Begin a drawing that shows nothing yet.
    pub(crate) fn begin() -> Drawing {
        let style = ProgressStyle::with_template("{msg}").expect("the template is a constant");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
        *drawn() = Some(bar.clone());
        Drawing(bar)
    }

    /// A handle for the task that redraws it.
    pub(crate) fn pen(&self) -> Pen {
        Pen(self.0.clone())
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        *drawn() = None;
        self.0.finish_and_clear();
    }
}

/// Redraws a [`Drawing`].
#[derive(Debug)]
pub(crate) struct Pen(ProgressBar);

impl Pen {
    /// Draw `picture`, whose lines are cut where the terminal ends: one that wraps would be two.
    pub(crate) fn draw(&self, picture: &str) {
        self.0.set_message(fit(picture, columns()));
        self.0.tick();
    }
}

/// Print something with `print`, which may go to the same terminal, without mixing it with what is drawn there.
pub(crate) fn beside_drawing<T>(print: impl FnOnce() -> T) -> T {
    let bar = drawn().clone();
    match bar {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

fn drawn() -> MutexGuard<'static, Option<ProgressBar>> {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The width of the terminal that standard error leads to.
pub(super) fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    // A terminal whose width is not known says 0.
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(80)
}

/// `picture` with its lines cut to `columns`.
fn fit(picture: &str, columns: usize) -> String {
    let cut = |line: &str| match line.char_indices().nth(columns) {
        // The last column stays free for what is left out.
        Some(_) => line.chars().take(columns - 1).chain(['…']).collect(),
        None => line.to_owned(),
    };
    picture.lines().map(cut).collect::<Vec<String>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_picture_wraps() {
        assert_eq!(fit("by-id: 351\n  ▄█", 10), "by-id: 351\n  ▄█");
        assert_eq!(fit("by-id: 351\n  ▄█", 9), "by-id: 3…\n  ▄█");
        assert_eq!(fit("by-id\n  ▄█", 1), "…\n…");
    }
}
