//! How many queries a second, how fast each, whether rightly, and what bounded it.
//!
//! ```text
//!  workload ─▶ arguments ─▶ pace (open loop) ─▶ run: a window on each connection ─▶ ask ─▶ server
//!                                                            │
//!                        report ◀─ compare ◀─ tally ◀────────┘      observe looks at the server meanwhile
//! ```
//!
//! In a closed loop every connection keeps up to the pipeline depth of queries on the way, and sends the next one
//! when an answer comes. In an open loop queries are due at a given rate, whatever became of those before, and their
//! response times count from then. Nothing is measured before all connections are open and have prepared.

mod baseline;
mod drive;
mod explain;
mod measure;
mod meter;
mod options;
mod report;
mod run_report;
mod search;
mod verdict;
mod verify;
mod workload;

pub use crate::query::baseline::{SaveFile, SavedRun, Threshold};
pub use crate::query::drive::schedule::{Arrivals, Limits};
pub use crate::query::drive::sender::Protocol;
pub use crate::query::explain::{Planned, SlowPlan};
pub use crate::query::measure::batch_means::Interval;
pub use crate::query::measure::latency::LatencySummary;
pub use crate::query::measure::tally::ErrorCount;
pub use crate::query::measure::timeline::{RunInProgress, Second};
pub use crate::query::measure::timeline::{RunMonitor, Timeline};
pub use crate::query::meter::{Meter, MeterOutcome};
pub use crate::query::options::MeterOptions;
pub use crate::query::report::{
    Checked, Comparison, ConnectionReport, LoadShape, OfferedReport, Ratio, RunReport, StatementReport,
    TableReport, WorkloadReport,
};
pub use crate::query::search::Point;
pub use crate::query::search::{Axis, RATES, Ramp, Search, SearchReport, Setting};
pub use crate::query::verdict::{ServerActivity, ServerStatement, Verdict};
pub use crate::query::workload::spec::{ArgSpec, Bound, Distribution, Rows, Scalar, StepSpec, WorkloadSpec};
pub use crate::query::workload::{Workload, with_arguments};
