//! How we reach a PostgreSQL server: connection settings, TLS, the pool, and the server that starts itself.

pub mod connect_error;
pub(crate) mod connect_raw;
pub mod conninfo;
pub mod embedded;
pub(crate) mod options;
pub(crate) mod pipeline;
pub(crate) mod pool;
pub(crate) mod server;
pub(crate) mod tls;

pub use crate::postgres::conninfo::Conninfo;
pub use crate::postgres::options::{
    DatabaseOptions, LARGEST_POOL, POOL_SIZE, ServerChoice, SessionOptions, Timeouts, check_pool,
};
pub use crate::postgres::pipeline::Pipeline;
pub use crate::postgres::pool::{connect, pool};
pub use crate::postgres::server::{Canceller, Database, ServerFacts};
