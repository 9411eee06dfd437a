//! The open loop: when each query is due, whether or not earlier ones have finished.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::query::measure::latency::Latencies;
use crate::query::workload::random::RandomStream;
use crate::{Error, Result};

/// How the arrivals of an open loop's queries are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Independent of each other, like those of many users: the gaps are exponentially distributed.
    Poisson,
    /// Evenly spaced.
    Constant,
}

/// When each query is due, as the time since the start of the run.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    /// Queries per second.
    pub rate: f64,
    /// How they are spread over time.
    pub arrivals: Arrivals,
    seed: u64,
    /// The number of the next query.
    next: u64,
    /// When the last query of a Poisson process is due, in seconds.
    at: f64,
}

impl Schedule {
    /// A schedule of `rate` queries per second, random ones drawn from `seed`.
    pub(crate) fn new(rate: f64, arrivals: Arrivals, seed: u64) -> Schedule {
        Schedule { rate, arrivals, seed, next: 0, at: 0.0 }
    }
}

impl Iterator for Schedule {
    /// The time since the start.
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let gap = match self.arrivals {
            Arrivals::Constant => 1.0,
            // No argument has this position, so the gaps are independent of the arguments.
            Arrivals::Poisson => -(1.0 - RandomStream::new(self.seed, self.next, usize::MAX).fraction()).ln(),
        };
        let due = if self.arrivals == Arrivals::Constant {
            self.next as f64 / self.rate
        } else {
            self.at += gap / self.rate;
            self.at
        };
        self.next += 1;
        Duration::try_from_secs_f64(due).ok()
    }
}

/// Hands out queries when they are due.
///
/// The runtime's timers have a resolution of a millisecond, which is longer than most queries take. So a dedicated
/// thread sleeps from one due time to the next, and releases each query when it is due.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// A permit for each query that is due and not yet handed out.
    due: Semaphore,
    /// The schedule of the queries not yet handed out, and the number of the next one.
    tickets: Mutex<(Schedule, u64)>,
    /// How many queries are handed out in all, once that is known.
    end: AtomicU64,
    start: Instant,
}

/// When a run ends: at the first limit reached, or only when it is interrupted if there is none.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Limits {
    /// End after this number of queries; `None` for no limit.
    pub queries: Option<u64>,
    /// End after this time; `None` for no limit.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<f64>"))]
    pub duration: Option<Duration>,
}

/// The least and the most time to wait for a server after, or before, a run that ends after a time; in between, as long
/// as the run.
const PATIENCE: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];

impl Limits {
    /// How long to wait for the last results after the time of the run is over; `None` if it has no limit of time.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.duration.map(|duration| duration.clamp(PATIENCE[0], PATIENCE[1]))
    }

    /// Wait that long; forever without a limit of time.
    pub(crate) async fn overdue(&self) {
        match self.patience() {
            Some(patience) => tokio::time::sleep(patience).await,
            None => std::future::pending().await,
        }
    }

    /// Await `preparing`, which precedes the run, that long.
    ///
    /// # Errors
    /// As `preparing`, or when it takes longer.
    pub(crate) async fn in_time<T>(&self, preparing: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            prepared = preparing => prepared,
            () = self.overdue() => {
                let seconds = self.patience().unwrap_or_default().as_secs();
                let error = Error::connect(format!("the server has not prepared the run within {seconds} s"));
                Err(error.with_help(
                    "another session may hold a lock, or the server may be silent or overloaded; look at pg_stat_activity",
                ))
            }
        }
    }
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn as_seconds<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

impl Pacer {
    /// A pacer for `schedule`, counted from `start`.
    pub(crate) fn new(schedule: Schedule, start: Instant) -> Arc<Pacer> {
        Arc::new(Pacer {
            due: Semaphore::new(0),
            tickets: Mutex::new((schedule, 0)),
            end: AtomicU64::new(u64::MAX),
            start,
        })
    }

    /// Wait until a query is due, and take it. Returns its number and when it was due; `None` when none is left.
    pub(crate) async fn next(&self) -> Option<(u64, Instant)> {
        self.due.acquire().await.expect("it is never closed").forget();
        self.ticket()
    }

    /// Take a query that is due by now, as [`Pacer::next`] does; `None` also when none is due yet.
    pub(crate) fn try_next(&self) -> Option<(u64, Instant)> {
        self.due.try_acquire().ok()?.forget();
        self.ticket()
    }

    fn ticket(&self) -> Option<(u64, Instant)> {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let (schedule, next) = &mut *tickets;
        if *next >= self.end.load(Relaxed) {
            // The next caller is to learn it too.
            self.due.add_permits(1);
            return None;
        }
        let due = self.start + schedule.next()?;
        *next += 1;
        Some((*next - 1, due))
    }

    /// Whether the last query has been handed out.
    pub(crate) fn is_over(&self) -> bool {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).1 >= self.end.load(Relaxed)
    }

    /// How many queries have been handed out.
    pub(crate) fn taken(&self) -> u64 {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Release queries when they are due, until `limits` are reached or `is_stopped`: the body of the pacing thread.
    /// Returns how many were due, and how late the thread itself released them.
    ///
    /// Queries that are due but not handed out when the time is up are still handed out if they are few, at most
    /// `spare` or 2 %: they have waited longest, and without them response times would look shorter than they were. If
    /// there are more, the rate is too high, and none of them is. Those that this thread itself did not get to release
    /// count as well.
    pub(crate) fn run(&self, limits: Limits, spare: u64, is_stopped: impl Fn() -> bool) -> (u64, Latencies) {
        /// The longest sleep, so that a stop is noticed soon.
        const NAP: Duration = Duration::from_millis(50);
        // By default Linux extends a sleep by up to 50 µs to save power.
        #[cfg(target_os = "linux")]
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZero::new(1_000));
        let mut schedule = self.tickets.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        let (mut released, mut lag) = (0, Latencies::default());
        let queries = limits.queries.unwrap_or(u64::MAX);
        let mut next = schedule.next();
        while let Some(due) = next.filter(|due| {
            let is_in_time = |duration| *due < duration && self.start.elapsed() < duration;
            released < queries && limits.duration.is_none_or(is_in_time) && !is_stopped()
        }) {
            let now = self.start.elapsed();
            if let Some(early) = due.checked_sub(now).filter(|early| !early.is_zero()) {
                std::thread::sleep(early.min(NAP));
                continue;
            }
            lag.record(now.saturating_sub(due));
            self.due.add_permits(1);
            released += 1;
            next = schedule.next();
        }
        if let Some(left) = limits.duration.map(|duration| duration.saturating_sub(self.start.elapsed()))
            && released < queries
        {
            let end = Instant::now() + left;
            while Instant::now() < end && !is_stopped() {
                std::thread::sleep(end.saturating_duration_since(Instant::now()).min(NAP));
            }
        }
        // At a hopelessly high rate, even queries that the thread did not get to release were due.
        let missed = match (limits.duration, next) {
            (Some(duration), Some(due)) if released < queries && due < duration => {
                let left = duration.saturating_sub(due).as_secs_f64() * schedule.rate;
                (left.round().max(1.0) as u64).min(queries - released)
            }
            _ => 0,
        };
        let missed = if is_stopped() { 0 } else { missed };
        let timed = limits.duration.is_some_and(|duration| self.start.elapsed() >= duration);
        let taken = self.taken();
        let is_little = missed + (released - taken) <= spare.max(released / 50);
        let end = if is_stopped() || (timed && !is_little) { taken } else { released };
        self.end.store(end, Relaxed);
        self.due.add_permits(1);
        (released + missed, lag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_arrivals_are_evenly_spaced() {
        let due: Vec<_> = Schedule::new(1000.0, Arrivals::Constant, 1).take(4).collect();
        assert_eq!(due, [0, 1, 2, 3].map(Duration::from_millis));
    }

    #[test]
    fn poisson_arrivals_have_the_right_rate_and_spread() {
        let due: Vec<f64> =
            Schedule::new(100.0, Arrivals::Poisson, 1).take(20_000).map(|due| due.as_secs_f64()).collect();
        let rate = 20_000.0 / due.last().unwrap();
        assert!((rate - 100.0).abs() < 3.0, "{rate}");
        // Of exponential gaps 63.2 % are shorter than the mean.
        let short = due.windows(2).filter(|pair| pair[1] - pair[0] < 0.01).count() as f64 / 20_000.0;
        assert!((short - 0.632).abs() < 0.02, "{short}");
        let again: Vec<f64> =
            Schedule::new(100.0, Arrivals::Poisson, 2).take(9).map(|due| due.as_secs_f64()).collect();
        assert_ne!(due[..9], again, "the seed decides");
    }

    #[tokio::test]
    async fn each_query_is_handed_out_once_and_then_none_is_left() {
        let pacer = Pacer::new(Schedule::new(100_000.0, Arrivals::Constant, 1), Instant::now());
        let limits = Limits { queries: Some(500), duration: None };
        let pacing = {
            let pacer = Arc::clone(&pacer);
            tokio::task::spawn_blocking(move || pacer.run(limits, 1, || false))
        };
        let mut seen = Vec::new();
        while let Some((number, due)) = pacer.next().await {
            assert!(due <= Instant::now());
            seen.push(number);
        }
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        assert_eq!(pacer.next().await, None);
        assert!(pacer.is_over());
        assert_eq!(pacing.await.unwrap().0, 500);
    }

    #[tokio::test]
    async fn many_late_queries_are_dropped_when_the_time_is_up() {
        // So long that a busy machine does not keep the thread from releasing the first one, nor this one from taking it.
        let pacer = Pacer::new(Schedule::new(20.0, Arrivals::Constant, 1), Instant::now());
        let limits = Limits { queries: None, duration: Some(Duration::from_secs(1)) };
        let pacing = {
            let pacer = Arc::clone(&pacer);
            tokio::task::spawn_blocking(move || pacer.run(limits, 1, || false))
        };
        assert_eq!(pacer.next().await.map(|(number, _)| number), Some(0));
        let (released, _) = pacing.await.unwrap();
        assert_eq!((released, pacer.taken(), pacer.next().await), (20, 1, None));
    }

    #[tokio::test]
    async fn few_late_queries_are_handed_out_after_the_time_is_up() {
        // The last one is due 200 ms before the end, so that a busy machine does not keep the thread from releasing it.
        let pacer = Pacer::new(Schedule::new(5.0, Arrivals::Constant, 1), Instant::now());
        let limits = Limits { queries: None, duration: Some(Duration::from_secs(1)) };
        let (released, _) = {
            let pacer = Arc::clone(&pacer);
            tokio::task::spawn_blocking(move || pacer.run(limits, 5, || false)).await.unwrap()
        };
        while pacer.next().await.is_some() {}
        assert_eq!((released, pacer.taken()), (5, 5));
    }
}
