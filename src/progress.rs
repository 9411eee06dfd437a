//! Progress of a load or a run, and its cancellation.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tokio::sync::Notify;

/// Receives notes for the user, one line at a time.
type Note = Box<dyn Fn(&str) + Send + Sync>;

/// Progress counters, written by workers and read by a display, and the switch that cancels the work.
#[derive(Default)]
pub struct Progress {
    note: Option<Note>,
    rows: AtomicU64,
    bytes: AtomicU64,
    rejected: AtomicU64,
    committed: AtomicU64,
    cancelled: AtomicBool,
    cancellation: Notify,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("rows", &self.rows)
            .field("bytes", &self.bytes)
            .field("cancelled", &self.cancelled)
            .finish_non_exhaustive()
    }
}

impl Progress {
    /// Progress that passes on notes: `note` receives, one line at a time, what a user should know at once, such as the
    /// statement that creates a table.
    pub fn with_notes(note: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Progress { note: Some(Box::new(note)), ..Progress::default() }
    }

    /// Pass `line` on to the user.
    pub(crate) fn note(&self, line: &str) {
        if let Some(note) = &self.note {
            note(line);
        }
    }

    /// Count `rows` rows (or queries) and `bytes` bytes as done.
    pub fn add(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Reset the counters.
    pub fn restart(&self) {
        self.rows.store(0, Relaxed);
        self.bytes.store(0, Relaxed);
        self.rejected.store(0, Relaxed);
    }

    /// Count `rows` rejected rows.
    pub fn reject(&self, rows: u64) {
        self.rejected.fetch_add(rows, Relaxed);
    }

    /// Rows rejected so far.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Relaxed)
    }

    /// Record that `rows` rows are committed.
    pub fn commit(&self, rows: u64) {
        self.committed.store(rows, Relaxed);
    }

    /// Rows committed so far.
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

    /// Cancel the work: every worker stops at its next check.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
        self.cancellation.notify_waiters();
    }

    /// Wait for [`Progress::cancel`].
    pub async fn cancelled(&self) {
        let notified = self.cancellation.notified();
        let mut notified = std::pin::pin!(notified);
        // Registered before the check, so that no call in between is missed.
        notified.as_mut().enable();
        if !self.is_cancelled() {
            notified.await;
        }
    }

    /// Whether [`Progress::cancel`] was called; threads check this between blocks of work.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }
}
