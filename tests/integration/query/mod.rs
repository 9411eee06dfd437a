//! `query`: measuring what a server answers.

mod answers;
mod compared_runs;
mod cpu;
mod endings;
mod explain;
mod faults;
mod latencies;
mod live_view;
mod merged_runs;
mod open_loop;
mod pgbench;
mod refused_workloads;
mod saved_runs;
mod search;
mod shipped_workloads;
mod statements;
mod sync_batching;
mod verdicts;
mod workloads;
