//! Latencies and their percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::query::measure::batch_means::Interval;

/// A histogram of latencies, in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

/// The mean and the percentiles of latencies, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LatencySummary {
    /// The mean.
    pub mean: f64,
    /// The 95 % confidence interval of the mean; `None` when there is not enough data.
    pub mean_interval: Option<Interval>,
    /// The 25th percentile.
    pub p25: f64,
    /// The median.
    pub p50: f64,
    /// The 75th percentile.
    pub p75: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p999: f64,
    /// The 99.99th percentile.
    pub p9999: f64,
    /// The maximum.
    pub max: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies::with_digits(3)
    }
}

impl Latencies {
    /// An empty histogram that keeps `digits` significant decimal digits, from 0 to 5, of each latency.
    pub(crate) fn with_digits(digits: u8) -> Self {
        Latencies(Histogram::new(digits).expect("between 0 and 5 digits"))
    }

    /// Record one latency.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.record_n(latency, 1);
    }

    /// Record a latency `count` times.
    pub(crate) fn record_n(&mut self, latency: Duration, count: u64) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.record_n(nanoseconds, count).expect("a histogram that grows takes every value");
    }

    /// Add the latencies of `other`.
    pub(crate) fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("a histogram that grows takes every value");
    }

    /// Remove all latencies.
    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    /// The number of latencies.
    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there are no latencies.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latency at `quantile`, from 0 to 1, in microseconds.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        micros(self.0.value_at_quantile(quantile.clamp(0.0, 1.0)) as f64)
    }

    /// The standard deviation, in microseconds.
    pub(crate) fn deviation(&self) -> f64 {
        self.0.stdev() / 1e3
    }

    /// The mean and the percentiles. `mean_interval` is `None`: it depends on the order in time, which is not kept
    /// here.
    pub(crate) fn summary(&self) -> LatencySummary {
        LatencySummary {
            mean: micros(self.0.mean()),
            mean_interval: None,
            p25: self.quantile(0.25),
            p50: self.quantile(0.5),
            p75: self.quantile(0.75),
            p90: self.quantile(0.9),
            p95: self.quantile(0.95),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            p9999: self.quantile(0.9999),
            max: micros(self.0.max() as f64),
        }
    }

    /// Each latency that occurs, in nanoseconds, and its count; [`Latencies::from_counts`] is the inverse.
    pub(crate) fn counts(&self) -> Vec<(u64, u64)> {
        self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
    }

    /// The histogram with these `counts`, as [`Latencies::counts`] returns them.
    pub(crate) fn from_counts(counts: &[(u64, u64)]) -> Self {
        let mut latencies = Latencies::default();
        for &(value, count) in counts {
            latencies.0.record_n(value, count).expect("a histogram that grows takes every value");
        }
        latencies
    }
}

/// Microseconds, rounded to a tenth.
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
        let LatencySummary { mean, p25, p50, p75, p90, p95, p99, p999, p9999, max, .. } = odd.summary();
        for (found, expected) in [
            (mean, 500.5),
            (p25, 250.0),
            (p50, 500.0),
            (p75, 750.0),
            (p90, 900.0),
            (p95, 950.0),
            (p99, 990.0),
            (p999, 999.0),
            (p9999, 1000.0),
            (max, 1000.0),
        ] {
            assert!((found - expected).abs() <= expected / 1000.0, "{found} is not {expected}");
        }
        assert_eq!(Latencies::from_counts(&odd.counts()).summary(), odd.summary());
    }
}
