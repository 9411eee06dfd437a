//! How we reach a PostgreSQL server: connection settings, TLS, and the server that starts itself.

pub mod conninfo;
pub mod embedded;
pub mod tls;
