//! What a load would make of its files, as far as that shows without loading them.

use std::sync::Arc;

use serde::Serialize;

use crate::Error;
use crate::catalog::Table;
use crate::csv::Files;
use crate::load::chunk::encoder::{ChunkEncoder, EncodePlan};
use crate::load::mapping::{ColumnMapping, Target};
use crate::load::options::InputOptions;
use crate::load::report::{self, ColumnLoaded};

pub use crate::load::table::can_load::check_can_load;
pub use crate::load::table::create::no_such_table;

/// Which field of some files goes where, and what is in the way.
#[derive(Debug, Default)]
pub struct Mapping {
    /// The fields that go to a column.
    pub fields: Vec<MappedField>,
    /// Columns of the table that the files do not have, and that take their defaults.
    pub columns_defaulted: Vec<String>,
    /// Names in the header that are left out as asked for.
    pub columns_ignored: Vec<String>,
    /// All that a load would stop at, as it would say it.
    pub problems: Vec<Error>,
}

/// A field, and the column that it goes to.
#[derive(Debug, Clone, Serialize)]
pub struct MappedField {
    /// Its place in a record, from 1.
    pub field: usize,
    /// What the header calls it; `None` when there is no header.
    pub header: Option<String>,
    /// The column.
    #[serde(flatten)]
    pub column: ColumnLoaded,
}

/// Find where the fields of `files` go in `table`, and look at the first record of each.
pub fn map(files: Files, table: &Table, settings: &InputOptions) -> Mapping {
    if files.is_empty() {
        return Mapping::default();
    }
    let InputOptions { naming, mode, .. } = settings;
    let header = files.header().map(|header| header.names.clone());
    let (targets, mut problems) = ColumnMapping::find_all(files.header(), files.name(), naming, table);
    let names: Vec<&str> = targets.names().collect();
    // What is wrong with the whole table is not the file's problem.
    if check_can_load(table, *mode, &[]).is_ok() {
        problems.extend(check_can_load(table, *mode, &names).err());
    }
    let mut switches = Vec::new();
    let targets = Arc::new(targets);
    // A record may well fit the header, even where some of its names mean nothing.
    if !targets.columns.is_empty() {
        let plan = EncodePlan { chunk_rows: 1, mode: *mode, rejecting: false };
        let (refused, given_up) = ChunkEncoder::new(files, Arc::clone(&targets), plan).check_first_records();
        problems.extend(refused);
        switches = given_up;
    }
    let columns = report::columns(&targets, *mode, &switches);
    let field = |(target, column): (&Target, ColumnLoaded)| MappedField {
        field: target.field + 1,
        header: header.as_ref().and_then(|names| names.get(target.field)).cloned(),
        column,
    };
    Mapping {
        fields: targets.columns.iter().zip(columns).map(field).collect(),
        columns_defaulted: report::defaulted(table, &targets),
        columns_ignored: targets.ignored.clone(),
        problems,
    }
}
