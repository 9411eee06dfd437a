//! Counters that workers add to, and the one place that draws them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far a command has come; workers add, one task draws, Ctrl-C sets `cancelled`.
#[derive(Debug, Default)]
pub struct Counters {
    rows: AtomicU64,
    bytes: AtomicU64,
    rejected: AtomicU64,
    committed: AtomicU64,
    cancelled: AtomicBool,
    cancellation: Notify,
}

impl Counters {
    /// Count `rows` rows (or queries) and `bytes` bytes as done.
    pub fn add(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Begin again from nothing.
    pub fn restart(&self) {
        self.rows.store(0, Relaxed);
        self.bytes.store(0, Relaxed);
        self.rejected.store(0, Relaxed);
    }

    /// Count `rows` rows as set aside.
    pub fn reject(&self, rows: u64) {
        self.rejected.fetch_add(rows, Relaxed);
    }

    /// Rows set aside so far.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Relaxed)
    }

    /// Whatever fails from now on, `rows` rows are in the table to stay.
    pub fn commit(&self, rows: u64) {
        self.committed.store(rows, Relaxed);
    }

    /// Rows that are in the table to stay.
    pub fn committed(&self) -> u64 {
        self.committed.load(Relaxed)
    }

    /// Rows (or queries) done so far.
    pub fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// Bytes read or written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Ask every worker to stop at its next look.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
        self.cancellation.notify_waiters();
    }

    /// Wait for [`Counters::cancel`].
    pub async fn cancelled(&self) {
        let notified = self.cancellation.notified();
        let mut notified = std::pin::pin!(notified);
        // Listening before looking, so that no call in between is missed.
        notified.as_mut().enable();
        if !self.is_cancelled() {
            notified.await;
        }
    }

    /// Whether [`Counters::cancel`] was called; threads look between blocks of work.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }
}

/// How often the drawing changes.
const REDRAW: Duration = Duration::from_millis(100);

/// A line on standard error that shows how far a command is, how fast, and how long it will take.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    drawing: Option<tokio::task::JoinHandle<()>>,
}

impl Progress {
    /// Draw `counters` until [`Progress::finish`], or nothing unless `visible`.
    ///
    /// The end is known in `rows`, or in `bytes`, or not at all.
    pub fn draw(
        visible: bool,
        verb: &'static str,
        counters: &Arc<Counters>,
        rows: Option<u64>,
        bytes: Option<u64>,
    ) -> Progress {
        if !visible {
            return Progress { bar: ProgressBar::hidden(), drawing: None };
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
            let (bar, counters) = (bar.clone(), Arc::clone(counters));
            async move {
                let started = Instant::now();
                loop {
                    tokio::time::sleep(REDRAW).await;
                    let done = counters.rows();
                    bar.set_position(if rows.is_some() { done } else { counters.bytes() });
                    let per_second = done as f64 / started.elapsed().as_secs_f64();
                    bar.set_message(format!(
                        "{} done, {}/s",
                        HumanCount(done),
                        HumanCount(per_second as u64)
                    ));
                }
            }
        };
        Progress { bar, drawing: Some(tokio::spawn(drawing)) }
    }

    /// Take the line away.
    pub fn finish(self) {
        if let Some(drawing) = &self.drawing {
            drawing.abort();
        }
        self.bar.finish_and_clear();
    }
}
