//! A run second by second, for the live view and the report.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::query::measure::latency::{Latencies, LatencySummary};

/// One second of a run; a query counts for the second in which its result arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Second {
    /// The number of the second, from 0.
    pub second: u64,
    /// Queries that succeeded.
    pub answered: u64,
    /// Queries that failed.
    pub errors: u64,
    /// The median response time, in microseconds.
    pub p50_us: f64,
    /// The 99th percentile of the response times, in microseconds.
    pub p99_us: f64,
    /// The longest response time, in microseconds.
    pub max_us: f64,
}

/// A run second by second.
#[derive(Debug, Default)]
pub struct Timeline(Mutex<Recorded>);

/// What a timeline holds.
#[derive(Debug)]
struct Recorded {
    seconds: Vec<SecondStats>,
    /// The response times of all seconds.
    response: Latencies,
}

impl Default for Recorded {
    fn default() -> Self {
        Recorded { seconds: Vec::new(), response: Latencies::with_digits(DIGITS) }
    }
}

/// The statistics of one second.
#[derive(Debug, Clone)]
struct SecondStats {
    answered: u64,
    errors: u64,
    latencies: Latencies,
    /// The summary of a second long past, for which no more results are expected and whose latencies were dropped.
    settled: Option<Second>,
}

/// The precision of a second's percentiles: enough for a chart, and small, because a long run has many seconds.
const DIGITS: u8 = 2;

/// A second is settled after this number of seconds; later results count, but do not change its percentiles.
const SETTLED_AFTER: usize = 120;

impl Default for SecondStats {
    fn default() -> Self {
        SecondStats { answered: 0, errors: 0, latencies: Latencies::with_digits(DIGITS), settled: None }
    }
}

/// The results of one connection in the current second.
#[derive(Debug, Default)]
pub(crate) struct CurrentSecond {
    second: u64,
    stats: SecondStats,
}

impl CurrentSecond {
    /// Record `count` successes with the same latency, which arrived at time `at` since the start.
    pub(crate) fn record_n(&mut self, at: Duration, latency: Duration, count: u64, timeline: &Timeline) {
        self.count(at, count, timeline);
        self.stats.latencies.record_n(latency, count);
    }

    /// Record a failure at time `at` since the start.
    pub(crate) fn failed(&mut self, at: Duration, timeline: &Timeline) {
        self.count(at, 0, timeline);
        self.stats.errors += 1;
    }

    /// Count `count` successes without a latency, at time `at` since the start.
    pub(crate) fn count(&mut self, at: Duration, count: u64, timeline: &Timeline) {
        if at.as_secs() != self.second {
            self.hand_over(timeline);
            self.second = at.as_secs();
        }
        self.stats.answered += count;
    }

    /// Add the current second to the timeline, and begin a new one.
    pub(crate) fn hand_over(&mut self, timeline: &Timeline) {
        let mut recorded = timeline.lock();
        recorded.response.add(&self.stats.latencies);
        let seconds = &mut recorded.seconds;
        let at = self.second as usize;
        if seconds.len() <= at {
            let settled = seconds.len().saturating_sub(SETTLED_AFTER)..(at + 1).saturating_sub(SETTLED_AFTER);
            seconds.resize(at + 1, SecondStats::default());
            for (stats, second) in seconds[settled.clone()].iter_mut().zip(settled.start as u64..) {
                stats.settled = Some(stats.summary(second));
                stats.latencies = Latencies::with_digits(0);
            }
        }
        seconds[at].answered += self.stats.answered;
        seconds[at].errors += self.stats.errors;
        if seconds[at].settled.is_none() {
            seconds[at].latencies.add(&self.stats.latencies);
        }
        (self.stats.answered, self.stats.errors) = (0, 0);
        self.stats.latencies.clear();
    }
}

impl Timeline {
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All seconds so far; the last ones may be incomplete.
    pub fn seconds(&self) -> Vec<Second> {
        self.lock().seconds.iter().zip(0..).map(|(stats, second)| stats.summary(second)).collect()
    }

    /// The response times so far, exact to 1 %, and their number; `None` if there are none.
    pub fn response(&self) -> Option<(LatencySummary, u64)> {
        let response = &self.lock().response;
        (!response.is_empty()).then(|| (response.summary(), response.len()))
    }
}

impl SecondStats {
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
    fn a_result_counts_for_the_second_in_which_it_arrived() {
        let timeline = Timeline::default();
        let (mut one, mut other) = (CurrentSecond::default(), CurrentSecond::default());
        let ms = Duration::from_millis;
        one.record_n(ms(100), ms(5), 1, &timeline);
        one.record_n(ms(2100), ms(7), 1, &timeline);
        other.failed(ms(900), &timeline);
        one.hand_over(&timeline);
        other.hand_over(&timeline);
        let seconds = timeline.seconds();
        let counts: Vec<_> =
            seconds.iter().map(|second| (second.second, second.answered, second.errors)).collect();
        assert_eq!(counts, [(0, 1, 1), (1, 0, 0), (2, 1, 0)]);
        let (summary, number) = timeline.response().unwrap();
        assert!((summary.max / 7000.0 - 1.0).abs() < 0.02 && number == 2, "{summary:?}");
        assert!((seconds[2].p99_us / 7000.0 - 1.0).abs() < 0.02, "{:?}", seconds[2]);
    }
}
