//! The table before and after its rows: found or created, its indexes dropped and rebuilt, its constraints checked.

pub(crate) mod analyze;
pub(crate) mod can_load;
pub(crate) mod constraints;
pub(crate) mod create;
pub(crate) mod indexes;
pub(crate) mod infer;
pub(crate) mod prepare;
