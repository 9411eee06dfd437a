//! Latencies as percentiles, and how far a figure of a run can be trusted.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::query::measure::batch_means::Interval;

/// Durations, recorded in nanoseconds.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

/// What latencies come to, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the percentile of its name")]
pub struct LatencySummary {
    pub mean: f64,
    /// Where the mean of many such runs lies with a probability of 95 %; null when too little was measured.
    pub mean_interval: Option<Interval>,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies::exact_to(3)
    }
}

impl Latencies {
    /// None yet; each will be exact to so many digits.
    pub fn exact_to(digits: u8) -> Self {
        Latencies(Histogram::new(digits).expect("between 0 and 5 digits"))
    }

    /// Count one.
    pub fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.record(nanoseconds).expect("a histogram that grows takes every value");
    }

    /// Count all of `other`.
    pub fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("a histogram that grows takes every value");
    }

    /// Forget all.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latency that the share `quantile` of all does not exceed, in microseconds.
    pub fn quantile(&self, quantile: f64) -> f64 {
        micros(self.0.value_at_quantile(quantile.clamp(0.0, 1.0)) as f64)
    }

    /// The standard deviation, in microseconds.
    pub fn deviation(&self) -> f64 {
        self.0.stdev() / 1e3
    }

    /// The percentiles; `mean_interval` is left to who knows the order in time.
    pub fn summary(&self) -> LatencySummary {
        LatencySummary {
            mean: micros(self.0.mean()),
            mean_interval: None,
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p95: self.quantile(0.95),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: micros(self.0.max() as f64),
        }
    }

    /// Every value that occurs, in nanoseconds, and how often: what a histogram can be made of again.
    pub fn counts(&self) -> Vec<(u64, u64)> {
        self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
    }

    /// The histogram that [`Latencies::counts`] came from.
    pub fn from_counts(counts: &[(u64, u64)]) -> Self {
        let mut latencies = Latencies::default();
        for &(value, count) in counts {
            latencies.0.record_n(value, count).expect("a histogram that grows takes every value");
        }
        latencies
    }
}

/// To a tenth of a microsecond.
fn micros(nanoseconds: f64) -> f64 {
    (nanoseconds / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_three_digits() {
        let (mut odd, mut even) = (Latencies::default(), Latencies::default());
        for micros in 1..=1000 {
            let latencies = if micros % 2 == 0 { &mut even } else { &mut odd };
            latencies.record(Duration::from_micros(micros));
        }
        odd.add(&even);
        let LatencySummary { mean, p50, p90, p95, p99, p999, max, .. } = odd.summary();
        for (found, expected) in [
            (mean, 500.5),
            (p50, 500.0),
            (p90, 900.0),
            (p95, 950.0),
            (p99, 990.0),
            (p999, 999.0),
            (max, 1000.0),
        ] {
            assert!((found - expected).abs() <= expected / 1000.0, "{found} is not {expected}");
        }
        assert_eq!(Latencies::from_counts(&odd.counts()).summary(), odd.summary());
    }
}
