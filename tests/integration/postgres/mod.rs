//! Connections, the embedded server, and the driver.

mod conninfo;
mod embedded;
mod lane;
mod nodes;
mod poolers;
mod replicas;
mod server_messages;
mod sync_batching;
