//! A run second by second: what the live view shows, and the report keeps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::query::drive::schedule::Limits;
use crate::query::measure::latency::Latencies;

/// What happened in one second of a run, counted by when the answers came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Second {
    /// Which one; 0 is the first.
    pub second: u64,
    /// Queries answered.
    pub answered: u64,
    /// Queries refused or lost.
    pub errors: u64,
    /// Of the response times, in microseconds.
    pub p50_us: f64,
    /// Of the response times, in microseconds.
    pub p99_us: f64,
    /// The longest response time, in microseconds.
    pub max_us: f64,
}

/// All seconds of a run.
#[derive(Debug, Default)]
pub struct Timeline(Mutex<Vec<Counting>>);

/// What a meter is doing now, for whoever shows it while it runs.
#[derive(Debug, Default)]
pub struct RunMonitor(Mutex<Option<RunInProgress>>);

/// One run, or a warm-up, that is going on.
#[derive(Debug, Clone)]
pub struct RunInProgress {
    /// What it is called: its workloads, or "warming up".
    pub name: String,
    /// When it began.
    pub started: Instant,
    /// When it ends.
    pub limits: Limits,
    /// What happened so far.
    pub timeline: Arc<Timeline>,
}

/// Keeps a run visible in its monitor until dropped.
#[derive(Debug)]
pub(crate) struct Visible<'a>(&'a RunMonitor);

impl RunMonitor {
    /// The run that is going on; `None` between runs.
    pub fn current(&self) -> Option<RunInProgress> {
        self.lock().clone()
    }

    /// Show a run that begins now.
    pub(crate) fn begin(&self, name: String, timeline: &Arc<Timeline>, limits: Limits) -> Visible<'_> {
        let (started, timeline) = (Instant::now(), Arc::clone(timeline));
        *self.lock() = Some(RunInProgress { name, started, limits, timeline });
        Visible(self)
    }

    fn lock(&self) -> MutexGuard<'_, Option<RunInProgress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visible<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

#[derive(Debug, Clone)]
struct Counting {
    answered: u64,
    errors: u64,
    latencies: Latencies,
    /// Its percentiles, when it is so long ago that nothing more is expected, and the latencies are let go.
    settled: Option<Second>,
}

/// Two digits are enough for a picture, and a long run has many seconds.
const DIGITS: u8 = 2;

/// A second is settled when it is so many seconds ago; what comes later is counted, but not for its percentiles.
const SETTLED: usize = 120;

impl Default for Counting {
    fn default() -> Self {
        Counting { answered: 0, errors: 0, latencies: Latencies::exact_to(DIGITS), settled: None }
    }
}

/// What one connection has seen in the second that it is in.
#[derive(Debug, Default)]
pub(crate) struct CurrentSecond {
    second: u64,
    counting: Counting,
}

impl CurrentSecond {
    /// Count an answer, or an error if there is no latency, that came `at` so long after the start.
    pub(crate) fn record(&mut self, at: Duration, latency: Option<Duration>, timeline: &Timeline) {
        if at.as_secs() != self.second {
            self.hand_over(timeline);
            self.second = at.as_secs();
        }
        match latency {
            Some(latency) => {
                self.counting.answered += 1;
                self.counting.latencies.record(latency);
            }
            None => self.counting.errors += 1,
        }
    }

    /// Count an answer without its time.
    pub(crate) fn count(&mut self, at: Duration, timeline: &Timeline) {
        if at.as_secs() != self.second {
            self.hand_over(timeline);
            self.second = at.as_secs();
        }
        self.counting.answered += 1;
    }

    /// Add what was counted to the timeline, and begin again.
    pub(crate) fn hand_over(&mut self, timeline: &Timeline) {
        let mut seconds = timeline.lock();
        let at = self.second as usize;
        if seconds.len() <= at {
            let settled = seconds.len().saturating_sub(SETTLED)..(at + 1).saturating_sub(SETTLED);
            seconds.resize(at + 1, Counting::default());
            for (counting, second) in seconds[settled.clone()].iter_mut().zip(settled.start as u64..) {
                counting.settled = Some(counting.summary(second));
                counting.latencies = Latencies::exact_to(0);
            }
        }
        seconds[at].answered += self.counting.answered;
        seconds[at].errors += self.counting.errors;
        if seconds[at].settled.is_none() {
            seconds[at].latencies.add(&self.counting.latencies);
        }
        (self.counting.answered, self.counting.errors) = (0, 0);
        self.counting.latencies.clear();
    }
}

impl Timeline {
    fn lock(&self) -> MutexGuard<'_, Vec<Counting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All seconds so far; of the last ones a part may still be missing.
    pub fn seconds(&self) -> Vec<Second> {
        self.lock().iter().zip(0..).map(|(counting, second)| counting.summary(second)).collect()
    }
}

impl Counting {
    fn summary(&self, second: u64) -> Second {
        let (answered, errors) = (self.answered, self.errors);
        if let Some(settled) = &self.settled {
            return Second { answered, errors, ..settled.clone() };
        }
        Second {
            second,
            answered,
            errors,
            p50_us: self.latencies.quantile(0.5),
            p99_us: self.latencies.quantile(0.99),
            max_us: self.latencies.quantile(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_counts_for_the_second_it_came_in() {
        let timeline = Timeline::default();
        let (mut one, mut other) = (CurrentSecond::default(), CurrentSecond::default());
        let ms = Duration::from_millis;
        one.record(ms(100), Some(ms(5)), &timeline);
        one.record(ms(2100), Some(ms(7)), &timeline);
        other.record(ms(900), None, &timeline);
        one.hand_over(&timeline);
        other.hand_over(&timeline);
        let seconds = timeline.seconds();
        let counts: Vec<_> =
            seconds.iter().map(|second| (second.second, second.answered, second.errors)).collect();
        assert_eq!(counts, [(0, 1, 1), (1, 0, 0), (2, 1, 0)]);
        assert!((seconds[2].p99_us / 7000.0 - 1.0).abs() < 0.02, "{:?}", seconds[2]);
    }
}
