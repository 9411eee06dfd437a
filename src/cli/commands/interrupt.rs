//! Ctrl-C and termination signals, at any time.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postgres_etl::postgres::{Canceller, Database};
use postgres_etl::{Error, ErrorKind, Progress, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::exit;

/// How long work may take to stop and the server to roll back; a second signal ends the wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// A signal so soon after the first is the same one: `timeout` sends it to the process and to its group.
const REPEATED: Duration = Duration::from_millis(200);

/// Queries of a pipeline run one after another, and each has to be cancelled separately.
const CANCEL_AGAIN: Duration = Duration::from_millis(100);

/// How an import is continued, whose ledger has what is committed.
const RESUME: &str = "to load the rest, run the same command again";

/// What a signal stops.
#[derive(Debug, Default)]
pub(super) struct Interrupt {
    work: Mutex<Vec<(Arc<Progress>, Option<Canceller>)>>,
    /// Whether the first signal was SIGTERM.
    is_terminated: AtomicBool,
}

impl Interrupt {
    /// From now on, a signal cancels the work of `progress`, and what runs on `database`.
    pub(super) fn cancels(&self, progress: &Arc<Progress>, database: Option<&Database>) {
        let entry = (Arc::clone(progress), database.map(Database::canceller));
        self.work.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// The work registered so far is done.
    pub(super) fn forget(&self) {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The exit code after the signal.
    pub(super) fn exit_code(&self) -> u8 {
        if self.is_terminated.load(Relaxed) { exit::TERMINATED } else { exit::INTERRUPTED }
    }

    /// Await `work`. On a signal, stop it and give it time to roll back and clean up.
    ///
    /// # Errors
    /// As `work`, or [`ErrorKind::Interrupted`].
    pub(super) async fn or_done<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut signals = Signals::listen()?;
        let mut work = std::pin::pin!(work);
        tokio::select! {
            result = &mut work => return result,
            kind = signals.next() => self.is_terminated.store(kind == SignalKind::terminate(), Relaxed),
        }
        let first = Instant::now();
        let stopping: Vec<_> = self.work.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        if stopping.is_empty() {
            // Nothing has started that would have to be undone.
            return Err(Error::interrupted());
        }
        for (progress, _) in &stopping {
            progress.cancel();
        }
        let cancel = async {
            loop {
                for (progress, canceller) in &stopping {
                    // A COMMIT that waits for a standby would be cut short, and its outcome is being found out.
                    if let (Some(canceller), false) = (canceller, progress.is_committing()) {
                        canceller.cancel().await;
                    }
                }
                tokio::time::sleep(CANCEL_AGAIN).await;
            }
        };
        let result = tokio::select! {
            result = &mut work => result,
            () = cancel => unreachable!("it never ends"),
            () = second_signal(&mut signals, first, &stopping) => Err(given_up(&stopping, "at the second signal")),
            () = out_of_patience(&stopping) => Err(given_up(&stopping, "because the work did not stop in time")),
        };
        // Whatever the error says, the cause is the interruption, unless it is about what was committed.
        result.map_err(|error| match error.kind() {
            ErrorKind::Interrupted | ErrorKind::OutcomeUnknown => error,
            _ => Error::interrupted(),
        })
    }
}

/// What an interruption stops: the progress of some work, and its statements on the server.
type Stopping = [(Arc<Progress>, Option<Canceller>)];

/// Wait for [`PATIENCE`], and on for as long as the outcome of a COMMIT is being found out, which takes its own time.
async fn out_of_patience(stopping: &Stopping) {
    tokio::time::sleep(PATIENCE).await;
    while stopping.iter().any(|(progress, _)| progress.is_ending()) {
        tokio::time::sleep(PATIENCE).await;
    }
    report(stopping).await;
}

/// Wait for a signal after the one that came at `first`.
async fn second_signal(signals: &mut Signals, first: Instant, stopping: &Stopping) {
    signals.next_after(first).await;
    report(stopping).await;
}

/// Where everything is committed, wait for the report, which is all that is left and comes soon.
async fn report(stopping: &Stopping) {
    if stopping.iter().any(|(progress, _)| progress.is_concluded()) {
        tokio::time::sleep(PATIENCE).await;
    }
}

/// The error that reports what is known when work is left that has not stopped; `why` completes "the connections were
/// dropped".
fn given_up(stopping: &Stopping, why: &str) -> Error {
    let is_resumable = stopping.iter().any(|(progress, _)| progress.is_resumable());
    let cause = format!("interrupted; the connections were dropped {why}");
    let unknown = stopping.iter().find_map(|(progress, _)| progress.unknown_outcome(&cause));
    if let Some(error) = unknown {
        return if is_resumable && error.help().is_none() { error.with_help(RESUME) } else { error };
    }
    let rest = if is_resumable { format!("; {RESUME}") } else { String::new() };
    let error = Error::interrupted()
        .with_help(format!("the connections were dropped {why}; nothing more is committed{rest}"));
    match stopping.iter().map(|(progress, _)| progress.committed()).sum::<u64>() {
        0 => error,
        rows => error.and(&format!("rows committed before: {rows}")),
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| Error::usage(format!("failed to watch for signals: {error}")))
        };
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Wait for the next signal, other than one that repeats `first`.
    async fn next_after(&mut self, first: Instant) {
        loop {
            self.next().await;
            if first.elapsed() >= REPEATED {
                return;
            }
        }
    }

    async fn next(&mut self) -> SignalKind {
        // Which one of two came first is not known.
        tokio::select! {
            biased;
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }
}
