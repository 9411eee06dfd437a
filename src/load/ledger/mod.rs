//! The ledger of imports: what is committed of each, in three tables of the database that is loaded into.
//!
//! `tables` names and creates them; `import` has a row for each import, `chunks` one for each committed chunk, and the
//! records that it rejected. All are written in the transaction that they tell of. `locks` keeps two processes from
//! working at the same time on one import, or on one of its chunks. `status` lists imports, and forgets them.

pub(crate) mod chunks;
pub(crate) mod import;
pub(crate) mod locks;
pub(crate) mod status;
pub(crate) mod tables;
