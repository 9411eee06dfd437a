//! How we reach a PostgreSQL server: connection settings, TLS, the pool, and the server that starts itself.

pub mod caret;
pub mod conninfo;
pub mod database;
mod dial;
pub mod embedded;
pub mod pool;
pub mod refusal;
pub mod sync_batching;
pub mod tls;
pub mod window;
