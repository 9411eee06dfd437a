//! What a meter is doing, for those who watch it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::query::drive::schedule::Limits;
use crate::query::measure::timeline::Timeline;
use crate::query::search::SearchPoint;

/// Receives each run of a search as soon as it is measured.
type OnPoint = Box<dyn Fn(&MeasuredPoint<'_>) + Send + Sync>;

/// What a meter is doing now, to be shown while it runs.
#[derive(Default)]
pub struct RunMonitor {
    run: Mutex<Option<RunInProgress>>,
    step: Mutex<Option<StepInProgress>>,
    on_point: Option<OnPoint>,
}

/// A run, or a warm-up, in progress.
#[derive(Debug, Clone)]
pub struct RunInProgress {
    /// Its title: the names of its workloads, or "warming up".
    pub name: String,
    /// Whether it is what is measured, not a warm-up or another preparation.
    pub is_measured: bool,
    /// Whether what is counted are transactions.
    pub counts_transactions: bool,
    /// When it began.
    pub started: Instant,
    /// When it ends.
    pub limits: Limits,
    /// The run so far, second by second.
    pub timeline: Arc<Timeline>,
}

/// A step of what comes before, between or after runs.
#[derive(Debug, Clone)]
pub struct StepInProgress {
    /// What is done, such as "counting the rows of persons".
    pub name: String,
    /// When it began.
    pub started: Instant,
}

/// A run of a search, which has just been measured.
#[derive(Debug)]
pub struct MeasuredPoint<'a> {
    /// Its figures.
    pub point: &'a SearchPoint,
    /// Its number, from 1.
    pub number: usize,
    /// The number of runs of the search, at most.
    pub at_most: usize,
    /// Whether there may be fewer runs.
    pub may_end_earlier: bool,
    /// Whether what is counted are transactions.
    pub counts_transactions: bool,
    /// The time that the other runs take at most, judging by those until now.
    pub left: Duration,
}

/// Keeps a run visible in its monitor until it is dropped.
#[derive(Debug)]
pub(crate) struct VisibleRun<'a>(&'a RunMonitor);

impl RunMonitor {
    /// A monitor that passes each run of a search to `on_point` as soon as it is measured.
    pub fn with_points(on_point: impl Fn(&MeasuredPoint<'_>) + Send + Sync + 'static) -> RunMonitor {
        RunMonitor { on_point: Some(Box::new(on_point)), ..RunMonitor::default() }
    }

    /// The run in progress; `None` between runs.
    pub fn current(&self) -> Option<RunInProgress> {
        lock(&self.run).clone()
    }

    /// What is done outside of runs; `None` if that takes no time worth mentioning.
    pub fn step(&self) -> Option<StepInProgress> {
        lock(&self.step).clone()
    }

    /// Show `run`, which begins now.
    pub(crate) fn begin(&self, run: RunInProgress) -> VisibleRun<'_> {
        *lock(&self.step) = None;
        *lock(&self.run) = Some(run);
        VisibleRun(self)
    }

    /// Show a step that begins now, until the next one or a run begins.
    pub(crate) fn begin_step(&self, name: impl Into<String>) {
        *lock(&self.step) = Some(StepInProgress { name: name.into(), started: Instant::now() });
    }

    /// Pass on a run that has been measured.
    pub(crate) fn pass_on(&self, point: &MeasuredPoint<'_>) {
        if let Some(on_point) = &self.on_point {
            on_point(point);
        }
    }
}

impl fmt::Debug for RunMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunMonitor").field("run", &self.run).field("step", &self.step).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for VisibleRun<'_> {
    fn drop(&mut self) {
        *lock(&self.0.run) = None;
    }
}
