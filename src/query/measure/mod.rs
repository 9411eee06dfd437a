//! What came back, in figures.

pub(crate) mod batch_means;
pub(crate) mod latency;
pub(crate) mod response_split;
pub(crate) mod tally;
pub(crate) mod timeline;
