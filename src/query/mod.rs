//! Measuring how many queries per second a server executes, their latencies, whether the results are right, and what
//! bounded the rate.
//!
//! ```text
//!  workload ─▶ arguments ─▶ schedule (open loop) ─▶ worker: a pipeline on each connection ─▶ sender ─▶ server
//!                                                              │                                     ▲
//!                        report ◀─ comparison ◀─ statistics ◀──┘              verdict: sampler ──────┘
//! ```
//!
//! In a closed loop every connection keeps up to the pipeline depth of queries in flight, and sends the next one when a
//! result arrives. In an open loop queries are due at a given rate, whether or not earlier ones have finished, and
//! their response times count from when they were due. Nothing is measured before all connections are open and every
//! statement is prepared.

mod baseline;
mod comparison;
mod drive;
mod explain;
mod hosts;
mod measure;
mod merge;
mod meter;
mod monitor;
mod options;
mod pgbench_tables;
mod rate_search;
mod report;
mod run_report;
mod runs;
mod runs_report;
mod search;
mod search_runs;
mod verdict;
mod verify;
mod workload;

pub use crate::query::baseline::{
    ClientMachine, Histogram, Samples, SaveFile, SavedRun, SavedRuns, WorkloadSamples,
};
pub use crate::query::comparison::Threshold;
pub use crate::query::drive::schedule::{Arrivals, Limits};
pub use crate::query::drive::sender::Protocol;
pub use crate::query::explain::{PlanCounts, SlowPlan};
pub use crate::query::measure::batch_means::{BatchMeans, Interval};
pub use crate::query::measure::latency::LatencySummary;
pub use crate::query::measure::run_stats::ErrorCount;
pub use crate::query::measure::timeline::{Second, Timeline};
pub use crate::query::merge::{MergedReport, MergedRun};
pub use crate::query::meter::{Meter, MeterOutcome};
pub use crate::query::monitor::{MeasuredPoint, RunInProgress, RunMonitor, StepInProgress};
pub use crate::query::options::MeterOptions;
pub use crate::query::pgbench_tables::{NewTable, PgbenchTables, TablesReport};
pub use crate::query::report::{
    Basis, Comparison, Condition, ConditionOutcome, ConnectionReport, HostReport, HostRole, LoadShape,
    OfferedReport, Ratio, ResultCheck, RunReport, StatementReport, TableReport, WorkloadReport,
};
pub use crate::query::runs_report::{AgainstReport, FigureSummary, RunsReport};
pub use crate::query::search::{Axis, RATES, Ramp, Search, SearchPoint, SearchReport, Setting};
pub use crate::query::verdict::replay::LagReport;
pub use crate::query::verdict::statements::ServerStatement;
pub use crate::query::verdict::{ServerActivity, Verdict};
pub use crate::query::workload::mix::with_arguments;
pub use crate::query::workload::spec::{
    ArgSpec, Bound, Distribution, RowsKeyword, RowsOf, Scalar, StepSpec, WorkloadSpec,
};
pub use crate::query::workload::{Workload, WorkloadStatement};
