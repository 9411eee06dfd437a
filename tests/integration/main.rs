//! Every test here runs against a real PostgreSQL server.

mod cli;
mod conninfo;
mod encoders;
mod launcher;
mod load;
mod oracle;
mod oracle_datetime;
mod query;
mod support;
mod sync_batching;
