//! What a command counts while it works, and how it is told to stop.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tokio::sync::Notify;

/// Gets notes for the user, a line at a time.
type Note = Box<dyn Fn(&str) + Send + Sync>;

/// How far a command is: workers count here, whoever draws it reads, and [`Progress::cancel`] stops the work.
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
    /// `note` gets what a user should know at once, a line at a time: the statement that creates a table, for example.
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

    /// Wait for [`Progress::cancel`].
    pub async fn cancelled(&self) {
        let notified = self.cancellation.notified();
        let mut notified = std::pin::pin!(notified);
        // Listening before looking, so that no call in between is missed.
        notified.as_mut().enable();
        if !self.is_cancelled() {
            notified.await;
        }
    }

    /// Whether [`Progress::cancel`] was called; threads look between blocks of work.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }
}
