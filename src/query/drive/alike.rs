//! Results alike, of which one look at the histograms does for all.

use std::time::Duration;

use crate::query::measure::run_stats::RunStats;
use crate::query::measure::timeline::{CurrentSecond, Timeline};

/// Results in a row that arrived together, of queries that were sent together.
#[derive(Debug, Default)]
pub(super) struct AlikeResults {
    /// When they arrived, since the start.
    at: Duration,
    response: Duration,
    /// How many there are that are not yet in the histograms.
    count: u64,
}

impl AlikeResults {
    /// Add a result that arrived `at` this time since the start; `false` if it is not like the others.
    #[inline]
    pub(super) fn add(&mut self, at: Duration, response: Duration) -> bool {
        let is_alike = self.count == 0 || (self.at, self.response) == (at, response);
        if is_alike {
            (self.at, self.response) = (at, response);
            self.count += 1;
        }
        is_alike
    }

    /// Record them, so that none is left.
    pub(super) fn settle(&mut self, stats: &mut RunStats, second: &mut CurrentSecond, timeline: &Timeline) {
        let AlikeResults { at, response, count } = std::mem::take(self);
        if count > 0 {
            stats.response.record_n(response, count);
            stats.batch_means.record_n(at, response, count);
            second.record_n(at, response, count, timeline);
        }
    }
}
