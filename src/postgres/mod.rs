//! Connects to a PostgreSQL server, or starts one.
//!
//! - [`conninfo`] resolves connection settings as libpq does, from a URL, the environment and files.
//! - [`Database`] is a server with its settings; a load or a measurement opens its connections through it.
//! - [`embedded`] starts, joins and stops the embedded server, for use when no server is named.
//! - [`pool()`] creates a pool without a [`Database`], with libpq's `sslmode` and, if wanted, several statements per Sync;
//!   [`connect_error`] explains why a connection could not be opened.
//! - [`Pipeline`] keeps a bounded number of statements in flight on one connection.

pub mod connect_error;
pub(crate) mod connect_failure;
pub(crate) mod connect_raw;
pub mod conninfo;
pub mod embedded;
pub(crate) mod endpoint;
pub(crate) mod nodes;
pub(crate) mod options;
pub(crate) mod pipeline;
pub(crate) mod pool;
pub(crate) mod pooler;
mod pooler_console;
pub(crate) mod server;
pub(crate) mod server_messages;
pub(crate) mod spread;
pub(crate) mod target_session;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod writable;

pub use crate::postgres::conninfo::Conninfo;
pub use crate::postgres::endpoint::Endpoint;
pub use crate::postgres::options::{
    DatabaseOptions, LARGEST_POOL, POOL_SIZE, Prepare, ServerChoice, SessionOptions, Timeouts, check_pool,
};
pub use crate::postgres::pipeline::Pipeline;
pub use crate::postgres::pool::pool;
pub use crate::postgres::server::{Canceller, Database, ServerFacts};
pub use crate::postgres::server_messages::ServerWarnings;
pub use crate::postgres::spread::ReadFrom;
pub use crate::postgres::target_session::HostChoice;
