//! CSV → table: the files are read and encoded on one thread, and written by one of three sinks, or by none.
//!
//! ```text
//!  source ─▶ encoding ─▶ chunks of tuples ─▶ feed ─▶ rows | batch | copy ─▶ PostgreSQL ─▶ report
//!               │                                         │
//!               └─▶ rejects ◀───────────────── bisection ◀┘
//! ```
//!
//! `mapping` says which field goes to which column, `encoding` encodes every record once, and the sinks
//! behind `writer` differ only in how they send the result, so they leave identical tables. Between the thread
//! and the sink is a short bounded channel: a slow server slows the reading, and memory stays flat. Where bad
//! rows may be set aside, `sorting` does so, and `bisect` finds those that only the server can refuse; `files` keeps them.

pub mod check;
mod chunk;
mod loader;
mod mapping;
mod options;
mod refusal;
mod reject;
mod report;
mod run;
mod settings;
mod table;
mod totals;
mod write;

pub use crate::load::chunk::encoder::TextFallback;
pub use crate::load::loader::{Loader, OpenLoad};
pub use crate::load::options::{
    Connections, CreateOptions, DeferIndexes, InputOptions, LoadOptions, Mode, Naming, OnConflict,
    RejectLimit,
};
pub use crate::load::reject::files::log_path;
pub use crate::load::report::{ColumnLoaded, FileRead, LoadReport, Phases};
