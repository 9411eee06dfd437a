//! Every test here runs against a real PostgreSQL server.

mod check;
mod cli;
mod conninfo;
mod csv_oracle;
mod encoders;
mod four_ways;
mod launcher;
mod load;
mod load_any;
mod load_conflicts;
mod load_create;
mod load_files;
mod load_indexes;
mod load_null;
mod load_receipts;
mod load_rejects;
mod oracle;
mod oracle_datetime;
mod query;
mod query_faults;
mod query_load;
mod query_runs;
mod query_view;
mod query_workloads;
mod support;
mod sync_batching;
