//! The line that shows how far a command has come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use postgres_etl::Progress;

/// How often the drawing changes.
const REDRAW: Duration = Duration::from_millis(100);

/// A line on standard error that shows how far a command is, how fast, and how long it will take.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    bar: ProgressBar,
    drawing: Option<tokio::task::JoinHandle<()>>,
}

impl ProgressLine {
    /// Draw `progress` until [`ProgressLine::finish`], or nothing unless `visible`.
    ///
    /// The end is known in `rows`, or in `bytes`, or not at all.
    pub(crate) fn draw(
        visible: bool,
        verb: &'static str,
        progress: &Arc<Progress>,
        rows: Option<u64>,
        bytes: Option<u64>,
    ) -> ProgressLine {
        if !visible {
            return ProgressLine { bar: ProgressBar::hidden(), drawing: None };
        }
        let template = match rows.or(bytes) {
            Some(_) => "{prefix} [{bar:24}] {percent:>3}%  {msg}  {eta} left",
            None => "{prefix} {spinner} {msg}",
        };
        let bar = ProgressBar::with_draw_target(rows.or(bytes), ProgressDrawTarget::stderr())
            .with_prefix(verb)
            .with_style(
                ProgressStyle::with_template(template)
                    .expect("the template is a constant")
                    .progress_chars("=> "),
            );
        let drawing = {
            let (bar, progress) = (bar.clone(), Arc::clone(progress));
            async move {
                let started = Instant::now();
                loop {
                    tokio::time::sleep(REDRAW).await;
                    let done = progress.rows();
                    bar.set_position(if rows.is_some() { done } else { progress.bytes() });
                    let per_second = done as f64 / started.elapsed().as_secs_f64();
                    bar.set_message(format!(
                        "{} done, {}/s",
                        HumanCount(done),
                        HumanCount(per_second as u64)
                    ));
                }
            }
        };
        ProgressLine { bar, drawing: Some(tokio::spawn(drawing)) }
    }

    /// Take the line away.
    pub(crate) fn finish(self) {
        if let Some(drawing) = &self.drawing {
            drawing.abort();
        }
        self.bar.finish_and_clear();
    }
}
