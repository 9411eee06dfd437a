//! Load CSV into PostgreSQL exactly, and measure honestly how fast a PostgreSQL server answers queries.
//!
//! ```text
//!  file ─▶ source ─▶ records ─▶ encode ─▶ tuples ─▶ rows | batch | copy ─▶ PostgreSQL ─▶ report
//!
//!  workload ─▶ arguments ─▶ a window of queries on each connection ─▶ answers, latencies ─▶ report
//! ```
//!
//! - [`people`] makes the CSV that everything is tried on; [`source`] reads any CSV, record by record, and
//!   knows the line of each.
//! - [`encode`] turns a field into the binary format of its column's type, once; the sinks of [`load`] send
//!   the result, and so leave identical tables. [`table`] knows the columns.
//! - [`infer`] finds the types that a file's values have, for a table that is made for it.
//! - [`query`] runs a workload and measures it.
//! - [`postgres`] is how a server is reached: connection settings, TLS, the pool, the window of statements on
//!   the way, their shared Syncs, and the server that starts itself.
//! - [`cli`] is what was typed, [`config`] what it means, [`command`] the glue, [`report`] what is printed,
//!   [`error`] what went wrong.

mod blocking;
pub mod catalog;
pub mod csv;
pub mod dataset;
pub mod encode;
mod error;
pub mod load;
pub mod output_file;
pub mod postgres;
mod progress;
pub mod query;
pub mod sql;
pub mod suggest;

pub use crate::blocking::blocking;
pub use crate::error::{Error, ErrorKind, Result};
pub use crate::progress::Progress;
