//! Load CSV into PostgreSQL exactly, and measure honestly how fast a PostgreSQL server answers queries.
//!
//! There are two ways in. A [`Loader`](load::Loader) carries CSV, from files or from any `AsyncRead`, into a table:
//!
//! ```text
//!  csv ─▶ records ─▶ encode ─▶ tuples ─▶ rows | batch | copy ─▶ PostgreSQL ─▶ LoadReport
//! ```
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use postgres_etl::Progress;
//! use postgres_etl::load::{LoadOptions, Loader};
//! use postgres_etl::postgres::{Database, DatabaseOptions};
//!
//! # async fn example() -> postgres_etl::Result<()> {
//! let database = Database::open(DatabaseOptions::from_env()?, |note| eprintln!("{note}")).await?;
//! let loader = Loader::new(&LoadOptions::new(["people.csv"], "persons")?)?;
//! let report = loader.run(&database, &Arc::new(Progress::default())).await?;
//! println!("{} rows loaded, {} rejected", report.rows_loaded, report.rows_rejected);
//! database.close().await
//! # }
//! ```
//!
//! A [`Meter`](query::Meter) sends the queries of a workload and measures rate and latency:
//!
//! ```text
//!  workload ─▶ arguments ─▶ queries in flight on each connection ─▶ results, latencies ─▶ RunReport
//! ```
//!
//! The other modules are what these two stand on, and useful without them:
//!
//! - [`csv`] reads any CSV record by record, exactly as the server's own COPY does.
//! - [`encode`] turns a field into the binary format of its column's type, or leaves it to the server.
//! - [`catalog`] is what the server knows of a table.
//! - [`postgres`] reaches a server: connection settings as libpq reads them, TLS, a pool, and a server that starts when
//!   none is named.
//! - [`dataset`] makes CSV of made-up people.
//! - [`output_file`], [`sql`] and [`suggest`] are small tools that several modules share.
//!
//! Errors are one type, [`Error`], with a [kind](ErrorKind), a remedy, the server's SQLSTATE and the place in the input.

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
