//! Prepares the table before its rows are written and completes it afterwards: creation, indexes, constraints, ANALYZE.

pub(crate) mod analyze;
pub(crate) mod can_load;
pub(crate) mod constraints;
pub(crate) mod create;
mod index_progress;
pub(crate) mod indexes;
pub(crate) mod infer;
mod kinds;
pub(crate) mod prepare;
pub(crate) mod self_references;
pub(crate) mod unchanged;
