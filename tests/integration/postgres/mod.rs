//! Connections, the embedded server, and the driver.

mod conninfo;
mod embedded;
mod poolers;
mod sync_batching;
