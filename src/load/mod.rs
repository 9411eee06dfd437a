//! Loads CSV files into a table: one thread reads and encodes, and a writer sends the tuples to the server.
//!
//! ```text
//!  csv ─▶ chunk::encoder ─▶ chunks ─▶ chunk::stream ─▶ write::{rows, batch, copy} ─▶ PostgreSQL ─▶ report
//!              │                                                  │
//!              └──────────────────▶ reject ◀──────────────────────┘
//! ```
//!
//! - A caller sets `options`, of which `choices` and `naming` are parts; `settings` are those, checked and with defaults
//!   filled in. `loader` runs a load in one of the ways in `run`, and returns a `report`.
//! - `table` finds or creates the table, and takes care of its indexes and constraints; `mapping` assigns each
//!   field to a column, `planned` to one of a new table, by `field_names`; `names` makes names of columns, and `spelling`
//!   turns values into what PostgreSQL reads.
//! - `chunk` holds the encoded tuples. Every record is encoded once, by the same code for all writers. The channel
//!   between encoder and writer is short and bounded: a slow server slows the reading, and memory use stays constant.
//! - `write` has the writers, which differ only in how they send the tuples, and so leave identical tables.
//! - `reject` sets bad rows aside, where that is allowed, and isolates those that only the server can refuse;
//!   `refusal` tells which refusals are about rows, and `hints` what a refused value looks like.
//! - `date_order` reads dates in which only a setting tells day and month apart.
//! - `replication` waits until standbys have replayed a load.
//! - `totals` have to add up before anything is committed. [`check`] finds problems without loading.

pub mod check;
mod choices;
mod chunk;
mod date_order;
mod field_names;
mod hints;
mod ledger;
mod loader;
mod mapping;
mod names;
mod naming;
mod options;
mod planned;
mod refusal;
mod reject;
mod replication;
mod report;
mod run;
mod settings;
mod spelling;
mod table;
mod totals;
mod write;

pub use crate::csv::NameStyle;
pub use crate::load::chunk::dates::{AmbiguousDate, AmbiguousDates};
pub use crate::load::chunk::findings::{FieldPlace, FieldsWithStrayQuotes, TextFallback};
#[cfg(feature = "schema")]
pub use crate::load::chunk::rejected::RejectSchema;
pub use crate::load::ledger::status::{ImportState, ImportStatus, Ledger};
pub use crate::load::loader::{CommittedLoad, Loader, OpenLoad};
pub use crate::load::names::MadeName;
pub use crate::load::options::{
    AddedValue, Connections, CreateOptions, DateStyle, DeferIndexes, ImportOptions, Infer, InputOptions,
    LoadOptions, Mode, Naming, OnConflict, PartitionRouting, RejectLimit,
};
pub use crate::load::reject::files::log_path;
pub use crate::load::replication::{ReplicationReport, StandbyReport};
pub use crate::load::report::{
    ColumnAdded, ColumnLoaded, FileRead, ImportReport, LoadReport, Outcome, Phases,
};
pub use crate::load::run::commit::{CommittedTransaction, Confirmation};
pub use crate::load::spelling::Spelling;
pub use crate::load::table::infer::{InferredColumn, SpellingChange, TextCause};
