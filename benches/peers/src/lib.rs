//! What the programs read and print.

use std::time::Duration;

use serde::Deserialize;

/// A row of persons.csv.
#[derive(Debug, Deserialize)]
pub struct Person {
    pub id: i32,
    pub name: String,
    pub age: i16,
    #[serde(rename = "isMarried")]
    pub is_married: bool,
    pub city: String,
    pub state: String,
    pub country: String,
}

/// The number of answers that are printed to be compared.
pub const ANSWERS: i32 = 50;

/// The figures of queries that took `latencies` each, and `took` seconds together: a JSON object.
pub fn figures(mut latencies: Vec<Duration>, took: f64) -> String {
    latencies.sort_unstable();
    let at = |share: f64| {
        let rank = ((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1));
        latencies.get(rank).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    };
    let percentiles =
        [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)]
            .map(|(name, share)| format!(r#""{name}": {}"#, at(share)))
            .join(", ");
    format!(r#"{{"queries": {}, "seconds": {took}, "latency_us": {{{percentiles}}}}}"#, latencies.len())
}
