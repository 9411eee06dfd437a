//! Load CSV into PostgreSQL without changing a value, and measure the query throughput of a PostgreSQL server.
//!
//! ```text
//!  CSV ─▶ csv: records ─▶ encode: tuples ─▶ load: rows | batch | copy ─▶ PostgreSQL ─▶ LoadReport
//!
//!  workloads ─▶ query: arguments ─▶ queries in flight on each connection ─▶ results, latencies ─▶ RunReport
//! ```
//!
//! A load parses records, encodes each field once into the binary format of its column, and sends the tuples with one of
//! three kinds of statement, all of which leave the same table. A measurement draws the arguments of queries, keeps a
//! number of queries in flight on each connection, and records every result and its latency.
//!
//! - [`load`]: [`Loader`](load::Loader), its options and its report. It creates tables, sets bad rows aside, resolves
//!   conflicts and rebuilds indexes.
//! - [`query`]: [`Meter`](query::Meter), its options, workloads and reports. It runs open and closed loops, searches for a
//!   limit, compares with a saved run, and determines what limited the throughput.
//! - [`csv`]: reads files, standard input or a stream, decompresses and decodes them, and splits them exactly as `COPY`
//!   does, keeping the line number and the original bytes of each record. It can also detect the dialect.
//! - [`encode`]: encodes fields in PostgreSQL's binary format. Fields that only the server can interpret are sent as text.
//! - [`catalog`]: tables and their columns, as described by the server's catalog.
//! - [`postgres`]: connection settings, TLS, the connection pool, and the embedded server.
//! - [`dataset`]: generates CSV of synthetic people.
//! - [`Error`] names what is wrong and the remedy; [`Progress`] counts what is done, and cancels it.
//!   [`count`], [`document`], [`sql`], [`statistics`], [`suggest`], [`output_file`] and [`blocking`] are small helpers
//!   shared with the command line.
//!
//! `load` and `query` are independent of each other. Both build on `catalog`, `csv` and `postgres`, and these on `encode`
//! and the helpers.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use postgres_etl::load::{LoadOptions, Loader};
//! # use postgres_etl::postgres::{Database, DatabaseOptions, ServerChoice, conninfo};
//! # use postgres_etl::query::{Meter, MeterOptions, MeterOutcome, RunMonitor};
//! # use postgres_etl::Progress;
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let url = conninfo::resolve(Some(("postgresql://localhost/shop", "example")), &|_| None)?;
//! let server = ServerChoice::Named(Box::new(url.expect("a server is named")));
//! let database = Database::open(DatabaseOptions::new(server), |line| eprintln!("{line}")).await?;
//! let progress = Arc::new(Progress::default());
//!
//! let loader = Loader::new(&LoadOptions::new(["people.csv"], "persons")?)?;
//! println!("{} rows loaded", loader.run(&database, &progress).await?.rows_loaded);
//!
//! let by_id = "SELECT name FROM persons WHERE id = $1";
//! let meter = Meter::new(MeterOptions::statement(by_id, ["uniform:1:rows".parse()?])?)?;
//! if let MeterOutcome::Run(report, _) = meter.run(&database, &RunMonitor::default(), &progress).await? {
//!     println!("{:.0} queries/s", report.queries_per_second);
//! }
//! database.close().await?;
//! # Ok(()) }
//! ```

mod blocking;
pub mod catalog;
pub mod count;
pub mod csv;
pub mod dataset;
pub mod document;
pub mod encode;
mod error;
pub mod escape;
pub mod load;
pub mod output_file;
pub mod postgres;
mod progress;
pub mod query;
pub mod sql;
pub mod statistics;
pub mod suggest;

pub use crate::blocking::blocking;
pub use crate::error::{Error, ErrorKind, Location, Result};
pub use crate::progress::{CurrentPhase, Phase, Progress, Total};
