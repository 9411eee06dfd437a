//! Every test here runs against a real PostgreSQL server.
//!
//! The folders are those of `src`; `support` holds the server and what the tests share.

use std::time::Duration;

/// The longest that anything may take that a test waits for; a test that takes longer has failed. Some programs build, fetch
/// or measure, and other tests run at the same time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

mod bench;
mod cli;
mod csv;
mod documentation;
mod encode;
mod examples;
mod load;
mod page;
mod postgres;
mod query;
mod support;
