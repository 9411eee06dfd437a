//! Which part of a response time was the server's, and which was waiting behind others.
//!
//! A connection's queries are answered one after the other, so the server is at one from the answer before it to its
//! own. Some answers come together, as those to queries that share a Sync mostly do: the server was at all of them
//! since the answers before, and its time is shared out among them equally.

use std::time::{Duration, Instant};

use crate::query::measure::latency::Latencies;

/// The answers of one connection that came together last.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// When the server could begin with the first of them.
    begun: Instant,
    /// When the last of them was read.
    last: Instant,
    /// Those of them that have a latency: the response time, and what the server took for earlier tries.
    answered: Vec<(Duration, Duration)>,
    /// How many the server worked on.
    count: u32,
}

impl Arrival {
    /// None since `start`.
    pub(crate) fn new(start: Instant) -> Self {
        Arrival { begun: start, last: start, answered: Vec::new(), count: 0 }
    }

    /// An answer is there at `done`, to a query that was sent at `sent`; it `came_alone` if it had to be waited for.
    /// Returns since when the server can have been at it.
    pub(crate) fn note(
        &mut self,
        sent: Instant,
        done: Instant,
        came_alone: bool,
        split: &mut Split,
    ) -> Instant {
        if came_alone || self.count == 0 {
            self.settle(split);
            self.begun = sent.max(self.last);
        }
        self.last = done;
        self.count += 1;
        sent.max(self.begun)
    }

    /// The answer has a latency.
    pub(crate) fn answered(&mut self, response: Duration, earlier_tries: Duration) {
        self.answered.push((response, earlier_tries));
    }

    /// No more came with these: record them in `split`.
    pub(crate) fn settle(&mut self, split: &mut Split) {
        let share = self.last.saturating_duration_since(self.begun) / self.count.max(1);
        for (response, earlier_tries) in self.answered.drain(..) {
            let server = (earlier_tries + share).min(response);
            split.server.record(server);
            split.waiting.record(response.saturating_sub(server));
        }
        self.count = 0;
    }
}

/// Response times in two parts.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// Before the server could begin: until it was sent, and behind the earlier queries of its connection.
    pub waiting: Latencies,
    /// The rest: the server's, and on the way to it and back.
    pub server: Latencies,
}

impl Split {
    /// Count all of `other`.
    pub(crate) fn add(&mut self, other: &Split) {
        self.waiting.add(&other.waiting);
        self.server.add(&other.server);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_together_shares_the_servers_time() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let ms = |latencies: &Latencies, quantile: f64| (latencies.quantile(quantile) / 1e3).round() as u64;
        let (mut arrival, mut split) = (Arrival::new(start), Split::default());
        // Four are sent at 10; two answers come at 30 together, one at 40, and one is refused at 60.
        for (done, came_alone) in [(30, true), (30, false), (40, true)] {
            arrival.note(at(10), at(done), came_alone, &mut split);
            arrival.answered(at(done) - at(10), Duration::ZERO);
        }
        assert_eq!(arrival.note(at(10), at(60), true, &mut split), at(40), "behind the one before");
        // It is sent again at 60, and answered at 65.
        assert_eq!(arrival.note(at(60), at(65), true, &mut split), at(60));
        arrival.answered(at(65) - at(10), at(60) - at(40));
        arrival.settle(&mut split);
        assert_eq!(split.server.len(), 4);
        assert_eq!(
            [0.0, 0.5, 0.75, 1.0].map(|quantile| ms(&split.server, quantile)),
            [10, 10, 10, 25],
            "10 for each of two, 10, and 20 + 5"
        );
        assert_eq!(
            [0.5, 0.75, 1.0].map(|quantile| ms(&split.waiting, quantile)),
            [10, 20, 30],
            "10 behind the other of two, though which is not known, 20, and 30 of which none was the server's"
        );
    }
}
