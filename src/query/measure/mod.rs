//! Statistics of the results: latencies, confidence intervals, and the course of a run.

pub(crate) mod batch_means;
pub(crate) mod latency;
pub(crate) mod response_split;
pub(crate) mod run_stats;
pub(crate) mod timeline;
