//! Counters that workers add to, and the one place that draws them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// How far a command has come; workers add, one task draws, Ctrl-C sets `cancelled`.
#[derive(Debug, Default)]
pub struct Counters {
    rows: AtomicU64,
    bytes: AtomicU64,
    cancelled: AtomicBool,
}

impl Counters {
    /// Count `rows` rows (or queries) and `bytes` bytes as done.
    pub fn add(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
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
    }

    /// Whether [`Counters::cancel`] was called; threads look between blocks of work.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }
}
