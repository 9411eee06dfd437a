//! Every test here runs against a real PostgreSQL server.

mod cli;
mod conninfo;
mod launcher;
mod load;
mod oracle;
mod query;
mod support;
mod sync_batching;
