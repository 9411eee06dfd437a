//! Checks that files fit a table, as far as possible without loading them.

use std::sync::Arc;

use serde::Serialize;

use crate::catalog::Table;
use crate::csv::Files;
use crate::load::chunk::encoder::{ChunkEncoder, EncodePlan};
use crate::load::mapping::{ColumnMapping, MappedColumn, header_names};
use crate::load::options::InputOptions;
use crate::load::report::{self, ColumnLoaded};
use crate::{Error, Result};

pub use crate::load::table::can_load::check_can_load;
pub use crate::load::table::create::no_such_table;

/// The column of each field of some files, and the problems that a load would have with them.
#[derive(Debug, Default)]
pub struct MappingReport {
    /// The fields that are loaded into a column.
    pub fields: Vec<MappedField>,
    /// Columns of the table that are not in the files and take their defaults.
    pub columns_defaulted: Vec<String>,
    /// Names in the header that are ignored because of `--ignore-extra`.
    pub columns_ignored: Vec<String>,
    /// The errors at which a load would stop, and those that would follow once they are corrected.
    pub problems: Vec<Error>,
}

/// A field, and the column into which it is loaded.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MappedField {
    /// Its position in a record, from 1.
    pub field: usize,
    /// Its name in the header; `None` if there is no header.
    pub header: Option<String>,
    /// The column.
    #[serde(flatten)]
    pub column: ColumnLoaded,
}

/// Decide whether the first record of `files` is a header, where that is to be detected, by the columns of `table` and by the
/// records.
///
/// # Errors
/// When neither tells.
pub fn settle_header(files: &mut Files, table: Option<&Table>, options: &InputOptions) -> Result<()> {
    files.settle_header(&header_names(table, &options.naming)).map(drop)
}

/// Map the fields of `files` to columns of `table`, and check the first record of each file.
pub fn map(files: Files, table: &Table, options: &InputOptions) -> MappingReport {
    if files.is_empty() {
        return MappingReport::default();
    }
    let InputOptions { naming, mode, .. } = options;
    let header = files.header().map(|header| header.names.clone());
    let (mut mapping, mut problems) = ColumnMapping::find_all(files.header(), files.name(), naming, table);
    problems.extend(mapping.convert(options, &[]).err());
    let names: Vec<&str> = mapping.names().collect();
    // A problem of the whole table is not reported as the file's.
    if check_can_load(table, *mode, &[]).is_ok() {
        problems.extend(check_can_load(table, *mode, &names).err());
    }
    let mut text_fallbacks = Vec::new();
    let mapping = Arc::new(mapping);
    // Records can be checked even if some names in the header are unknown.
    if !mapping.columns.is_empty() {
        let plan = EncodePlan::new(options, 1, false);
        let (refused, fallbacks) = ChunkEncoder::new(files, Arc::clone(&mapping), plan).check_first_records();
        problems.extend(refused);
        text_fallbacks = fallbacks;
    }
    let columns = report::columns(&mapping, *mode, &text_fallbacks);
    let field = |(mapped, column): (&MappedColumn, ColumnLoaded)| {
        let field = mapped.field_number()?;
        let header = header.as_ref().and_then(|names| names.get(field - 1)).cloned();
        Some(MappedField { field, header, column })
    };
    MappingReport {
        fields: mapping.columns.iter().zip(columns).filter_map(field).collect(),
        columns_defaulted: report::defaulted(table, &mapping),
        columns_ignored: mapping.ignored.clone(),
        problems,
    }
}
