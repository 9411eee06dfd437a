//! Driving the load: when each query is due, which connection sends it, and what its result was.

mod alike;
pub(crate) mod connection;
pub(crate) mod digest;
pub(crate) mod expected;
pub(crate) mod lane;
pub(crate) mod plan;
mod record;
pub(crate) mod schedule;
pub(crate) mod sender;
pub(crate) mod shards;
pub(crate) mod worker;
