//! Connections, the embedded server, and the driver.

mod conninfo;
mod embedded;
mod sync_batching;
