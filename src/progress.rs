//! Progress of a load or a run, and its cancellation.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::{Error, ErrorKind};

/// Receives notes for the user, one line at a time.
type Note = Box<dyn Fn(&str) + Send + Sync>;

/// Progress counters, written by workers and read by a display, and the switch that cancels the work.
#[derive(Default)]
pub struct Progress {
    note: Option<Note>,
    phase: Mutex<Option<CurrentPhase>>,
    rows: AtomicU64,
    bytes: AtomicU64,
    rejected: AtomicU64,
    commits: Commits,
    cancelled: AtomicBool,
    cancellation: Notify,
}

/// A part of the work, as a display names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Writing made-up people.
    Generating,
    /// Writing the accounts of pgbench's tables.
    CreatingAccounts,
    /// Opening the files, detecting their dialect, and copying an input that can be read only once.
    Opening,
    /// Reaching the server, or starting it.
    Connecting,
    /// Reading the files to find the types that fit their values.
    InferringTypes,
    /// Finding, creating or emptying the table, which may wait for a lock.
    PreparingTable,
    /// Reading the rows, and sending them.
    Reading,
    /// As [`Phase::Reading`], once more, because a row is wrong that the server did not identify.
    ReadingAgain,
    /// Building an index, of those that were dropped for the load.
    BuildingIndex {
        /// Which of them, from 1.
        number: usize,
        /// Their number.
        of: usize,
    },
    /// Checking deferred constraints.
    CheckingConstraints,
    /// Waiting for the answer to COMMIT.
    Committing,
    /// Waiting until the standbys have replayed the load.
    WaitingForStandbys,
    /// Updating the planner's statistics.
    Analyzing,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Generating => "generating",
            Phase::CreatingAccounts => "creating accounts",
            Phase::Opening => "opening the input",
            Phase::Connecting => "reaching the server",
            Phase::InferringTypes => "inferring types",
            Phase::PreparingTable => "preparing the table",
            Phase::Reading => "reading",
            Phase::ReadingAgain => "reading again, row by row",
            Phase::BuildingIndex { number, of } => return write!(f, "building index {number} of {of}"),
            Phase::CheckingConstraints => "checking constraints",
            Phase::Committing => "committing",
            Phase::WaitingForStandbys => "waiting for the standbys",
            Phase::Analyzing => "analyzing",
        })
    }
}

/// What a phase counts towards, where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// [`Progress::rows`] at the end of the phase.
    Rows(u64),
    /// [`Progress::bytes`] at the end of the phase.
    Bytes(u64),
}

/// The phase that the work is in.
#[derive(Debug, Clone)]
pub struct CurrentPhase {
    /// Which one.
    pub phase: Phase,
    /// When it began.
    pub since: Instant,
    /// What it counts towards; `None` if that is unknown, or if the phase counts nothing.
    pub total: Option<Total>,
    /// What the server says of it, such as `scanning table, 45 %`; `None` if it was not asked.
    pub detail: Option<String>,
}

/// Rows by what is known about the commit of their transactions.
#[derive(Debug, Default)]
struct Commits {
    /// Rows whose commit was requested.
    requested: AtomicU64,
    /// Of these, rows that are committed.
    confirmed: AtomicU64,
    /// Of these, rows that are not.
    refused: AtomicU64,
    /// The statement that tells the outcome of the COMMIT to which there is no answer yet; `None` if there is none.
    question: Mutex<Option<String>>,
    /// Whether transactions are being prepared, which may be cancelled; a COMMIT may not.
    is_preparing: AtomicBool,
    /// Whether the answer to a COMMIT is awaited that is not the only one of the work.
    is_awaited: AtomicBool,
    /// What is not known until a COMMIT of no rows is answered; `None` if there is none without an answer.
    unanswered: Mutex<Option<Unanswered>>,
    /// Whether everything is committed that is to be.
    is_concluded: AtomicBool,
    /// Whether the table was emptied in a transaction of its own.
    is_emptied: AtomicBool,
    /// Whether another run can load the rest of the rows.
    is_resumable: AtomicBool,
    /// The IDs of the transactions whose commit was requested.
    ids: Mutex<Vec<String>>,
}

/// A COMMIT of no rows that was not answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unanswered {
    /// What is not known.
    pub(crate) unknown: &'static str,
    /// How to find it out.
    pub(crate) help: &'static str,
}

impl Commits {
    fn unanswered(&self) -> MutexGuard<'_, Option<Unanswered>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn question(&self) -> MutexGuard<'_, Option<String>> {
        self.question.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

    /// Record that the work enters `phase`, which counts towards `total` where that is known.
    pub fn begin(&self, phase: Phase, total: Option<Total>) {
        *self.lock_phase() = Some(CurrentPhase { phase, since: Instant::now(), total, detail: None });
    }

    /// Record what the server says of the current phase.
    pub(crate) fn set_detail(&self, detail: String) {
        if let Some(current) = &mut *self.lock_phase() {
            current.detail = Some(detail);
        }
    }

    /// The phase that the work is in; `None` before the first.
    pub fn phase(&self) -> Option<CurrentPhase> {
        self.lock_phase().clone()
    }

    fn lock_phase(&self) -> MutexGuard<'_, Option<CurrentPhase>> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Record that the commit of `rows` rows is requested; the statement `question` tells the outcome later.
    pub(crate) fn begin_commit(&self, rows: u64, question: Option<String>) {
        *self.commits.question() = question;
        self.commits.requested.fetch_add(rows, Relaxed);
    }

    /// Record that transactions are being prepared, of which none is committed before all are; `remedy` ends those that
    /// are left.
    pub(crate) fn begin_prepare(&self, remedy: String) {
        self.commits.is_preparing.store(true, Relaxed);
        *self.commits.question() = Some(remedy);
    }

    /// Record that no transaction is being prepared any more.
    pub(crate) fn end_prepare(&self) {
        self.commits.is_preparing.store(false, Relaxed);
        *self.commits.question() = None;
    }

    /// Record that the table was emptied in a transaction of its own.
    pub(crate) fn empty_table(&self) {
        self.commits.is_emptied.store(true, Relaxed);
    }

    /// Whether the table was emptied in a transaction of its own, which is committed whatever becomes of the rows.
    pub fn has_emptied_table(&self) -> bool {
        self.commits.is_emptied.load(Relaxed)
    }

    /// Record that another run can load the rest of the rows.
    pub(crate) fn allow_resuming(&self) {
        self.commits.is_resumable.store(true, Relaxed);
    }

    /// Whether another run can load the rest of the rows.
    pub fn is_resumable(&self) -> bool {
        self.commits.is_resumable.load(Relaxed)
    }

    /// Record that everything is committed that is to be: what follows cannot change the outcome.
    pub(crate) fn conclude(&self) {
        self.commits.is_concluded.store(true, Relaxed);
    }

    /// Whether everything is committed that is to be.
    pub fn is_concluded(&self) -> bool {
        self.commits.is_concluded.load(Relaxed)
    }

    /// Record the ID of a transaction whose commit is requested.
    pub(crate) fn add_transaction(&self, id: &str) {
        self.commits.ids.lock().unwrap_or_else(PoisonError::into_inner).push(id.to_owned());
    }

    /// The IDs of the transactions whose commit was requested, as `pg_current_xact_id()` returns them; without those of
    /// rows that are committed one by one.
    pub fn transaction_ids(&self) -> Vec<String> {
        self.commits.ids.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Record that `rows` of those whose commit was requested are committed.
    pub(crate) fn confirm_commit(&self, rows: u64) {
        self.commits.confirmed.fetch_add(rows, Relaxed);
        *self.commits.question() = None;
    }

    /// Record that `rows` of those whose commit was requested are not committed.
    pub(crate) fn refuse_commit(&self, rows: u64) {
        self.commits.refused.fetch_add(rows, Relaxed);
        *self.commits.question() = None;
    }

    /// Record that the outcome of a COMMIT will stay unknown: its rows are neither committed nor refused, and no statement
    /// tells.
    pub(crate) fn leave_commit(&self) {
        *self.commits.question() = None;
    }

    /// Rows that are known to be committed.
    pub fn committed(&self) -> u64 {
        self.commits.confirmed.load(Relaxed)
    }

    /// Rows that may be committed as well: their commit was requested, and the answer has not arrived, or does not tell what
    /// foreign servers have kept.
    pub fn uncertain(&self) -> u64 {
        let Commits { requested, confirmed, refused, .. } = &self.commits;
        requested.load(Relaxed).saturating_sub(confirmed.load(Relaxed) + refused.load(Relaxed))
    }

    /// Whether transactions are being committed, prepared or rolled back, so that an interruption has to wait for the
    /// outcome.
    pub fn is_ending(&self) -> bool {
        self.commits.question().is_some()
    }

    /// Whether the answer to a COMMIT is outstanding, which must not be cut short.
    pub fn is_committing(&self) -> bool {
        self.commits.is_awaited.load(Relaxed) || self.is_ending() && !self.commits.is_preparing.load(Relaxed)
    }

    /// Await the answer to `commit`, one COMMIT of several. Meanwhile an interruption cancels nothing: the server would not
    /// wait any longer for a standby to have the commit.
    pub(crate) async fn uncancelled<T>(&self, commit: impl Future<Output = T>) -> T {
        self.commits.is_awaited.store(true, Relaxed);
        let answer = commit.await;
        self.commits.is_awaited.store(false, Relaxed);
        answer
    }

    /// Record that a COMMIT of no rows is requested: `unanswered` is so until [`Progress::settle_step`].
    pub(crate) fn begin_step(&self, unanswered: Unanswered) {
        *self.commits.unanswered() = Some(unanswered);
    }

    /// Record that the outcome of the last COMMIT of no rows is known.
    pub(crate) fn settle_step(&self) {
        *self.commits.unanswered() = None;
    }

    /// What is not known because a COMMIT of no rows was not answered; `None` if there is no such COMMIT.
    pub(crate) fn unanswered_step(&self) -> Option<Unanswered> {
        *self.commits.unanswered()
    }

    /// The error that reports, after `cause`, that the outcome of the load or of its last step is not known, or that
    /// transactions may be left prepared; `None` if nothing of this is so.
    pub fn unknown_outcome(&self, cause: &str) -> Option<Error> {
        let unknown = |message: String| Error::new(ErrorKind::OutcomeUnknown, message);
        if let Some(question) = &*self.commits.question() {
            if self.commits.is_preparing.load(Relaxed) {
                let message =
                    format!("{cause}: nothing was committed, but a transaction may be left prepared");
                return Some(Error::new(ErrorKind::Interrupted, message).with_help(question.clone()));
            }
            return Some(
                unknown(format!("{cause}: whether the load was committed is not known"))
                    .with_help(format!("before you load again, ask the server: {question}")),
            );
        }
        let (least, more) = (self.committed(), self.uncertain());
        if more > 0 {
            return Some(unknown(format!("{cause}; {}", committed_rows(least, more))));
        }
        let Unanswered { unknown: what, help } = self.unanswered_step()?;
        Some(unknown(format!("{cause}: {what}")).with_help(help))
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

/// How many rows were committed, when `least` are known to be, and `more` may be.
pub(crate) fn committed_rows(least: u64, more: u64) -> String {
    match (least, more) {
        (0, 0) => "no row was committed".to_owned(),
        (1, 0) => "1 row was committed, and stays".to_owned(),
        (_, 0) => format!("{least} rows were committed, and stay"),
        _ => format!("between {least} and {} rows were committed, and stay", least + more),
    }
}
