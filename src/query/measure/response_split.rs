//! Which part of a response time the server worked on the query, and which part the query waited behind others.
//!
//! The queries of a connection finish one after the other, so the server works on each from the result before it to
//! its own. Some results arrive together, as most of those to queries that share a Sync do: the server worked on all of
//! them since the result before, and its time is divided equally among them.

use std::time::{Duration, Instant};

use crate::query::measure::latency::Latencies;

/// The results of one connection that arrived together last.
#[derive(Debug)]
pub(crate) struct ResponseGroup {
    /// When the server could begin with the first of them.
    begun: Instant,
    /// When the last of them was read.
    last: Instant,
    /// The results that have a latency: the response time, how long the server worked on earlier tries, and how many
    /// results in a row have the same.
    succeeded: Vec<(Duration, Duration, u64)>,
    /// The number of queries that the server worked on.
    count: u32,
}

impl ResponseGroup {
    /// An empty group of a connection whose run began at `start`.
    pub(crate) fn new(start: Instant) -> Self {
        ResponseGroup { begun: start, last: start, succeeded: Vec::new(), count: 0 }
    }

    /// Add the result of a query that was sent at `sent` and arrived at `done`; it `came_alone` if it had to be waited
    /// for, which settles the group before it. Returns when the server can have begun to work on the query.
    pub(crate) fn arrived(
        &mut self,
        sent: Instant,
        done: Instant,
        came_alone: bool,
        split: &mut ResponseSplit,
    ) -> Instant {
        if came_alone || self.count == 0 {
            self.settle(split);
            self.begun = sent.max(self.last);
        }
        self.last = done;
        self.count += 1;
        sent.max(self.begun)
    }

    /// Note that the result just added has a latency, because the query succeeded.
    pub(crate) fn succeeded(&mut self, response: Duration, earlier_tries: Duration) {
        match self.succeeded.last_mut() {
            Some(last) if (last.0, last.1) == (response, earlier_tries) => last.2 += 1,
            _ => self.succeeded.push((response, earlier_tries, 1)),
        }
    }

    /// Record the group in `split`, now that it is complete, and begin a new one.
    pub(crate) fn settle(&mut self, split: &mut ResponseSplit) {
        let share = self.last.saturating_duration_since(self.begun) / self.count.max(1);
        for (response, earlier_tries, count) in self.succeeded.drain(..) {
            let server = (earlier_tries + share).min(response);
            split.server.record_n(server, count);
            split.waiting.record_n(response.saturating_sub(server), count);
        }
        self.count = 0;
    }
}

/// The two parts of response times.
#[derive(Debug, Default)]
pub(crate) struct ResponseSplit {
    /// Before the server could begin: until the query was sent, and behind the earlier queries of its connection.
    pub waiting: Latencies,
    /// The rest: the server's work and the network.
    pub server: Latencies,
}

impl ResponseSplit {
    /// Add the latencies of `other`.
    pub(crate) fn add(&mut self, other: &ResponseSplit) {
        self.waiting.add(&other.waiting);
        self.server.add(&other.server);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_that_arrive_together_share_the_servers_time() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let ms = |latencies: &Latencies, quantile: f64| (latencies.quantile(quantile) / 1e3).round() as u64;
        let (mut group, mut split) = (ResponseGroup::new(start), ResponseSplit::default());
        // Four queries are sent at 10; two results arrive together at 30, one at 40, and one query fails at 60.
        for (done, came_alone) in [(30, true), (30, false), (40, true)] {
            group.arrived(at(10), at(done), came_alone, &mut split);
            group.succeeded(at(done) - at(10), Duration::ZERO);
        }
        assert_eq!(
            group.arrived(at(10), at(60), true, &mut split),
            at(40),
            "the server began when the result before it arrived"
        );
        // It is sent again at 60, and succeeds at 65.
        assert_eq!(group.arrived(at(60), at(65), true, &mut split), at(60));
        group.succeeded(at(65) - at(10), at(60) - at(40));
        group.settle(&mut split);
        assert_eq!(split.server.len(), 4);
        assert_eq!(
            [0.0, 0.5, 0.75, 1.0].map(|quantile| ms(&split.server, quantile)),
            [10, 10, 10, 25],
            "10 for each of two, 10, and 20 + 5"
        );
        assert_eq!(
            [0.5, 0.75, 1.0].map(|quantile| ms(&split.waiting, quantile)),
            [10, 20, 30],
            "10 behind the other of the two, though which is not known; 20; and 30 before its first try began"
        );
    }
}
