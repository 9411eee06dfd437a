//! Asking: which query is due when, on which connection, and what came back for it.

pub(crate) mod schedule;
pub(crate) mod sender;
pub(crate) mod shards;
pub(crate) mod worker;
