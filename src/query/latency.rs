//! Latencies as percentiles, exact to three digits.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Durations, recorded in nanoseconds.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

/// What a run's latencies come to, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[expect(missing_docs, reason = "each is the percentile of its name")]
pub struct LatencySummary {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies(Histogram::new(3).expect("three digits are between 0 and 5"))
    }
}

impl Latencies {
    /// Count one.
    pub fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.record(nanoseconds).expect("a histogram that grows takes every value");
    }

    /// Count all of `other`.
    pub fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("a histogram that grows takes every value");
    }

    /// The percentiles.
    pub fn summary(&self) -> LatencySummary {
        let us = |ns: f64| (ns / 100.0).round() / 10.0;
        let quantile = |quantile| us(self.0.value_at_quantile(quantile) as f64);
        LatencySummary {
            mean: us(self.0.mean()),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p95: quantile(0.95),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: us(self.0.max() as f64),
        }
    }
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
        let LatencySummary { mean, p50, p90, p95, p99, p999, max } = odd.summary();
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
    }
}
