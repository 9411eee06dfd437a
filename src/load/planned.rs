//! The columns of a table that is made for its files.

use std::collections::HashSet;

use crate::csv::Header;
use crate::load::field_names::{ALREADY_LOADED, FieldNames, NUL_HELP, NUL_IN_NAME, ONLY_ONCE, cannot_add};
use crate::load::names::{MadeName, column_names, sql_name};
use crate::load::options::{AddedValue, Naming};
use crate::{Error, Result};

/// The columns of a table that is made for its files.
#[derive(Debug, Clone, Default)]
pub(super) struct PlannedFields {
    /// The name of each field's column; `None` for a field that is not loaded.
    pub columns: Vec<Option<String>>,
    /// Fields whose names could not be the names of their columns.
    pub made: Vec<MadeName>,
    /// Names that `--ignore-extra` skips, all of them empty.
    pub ignored: Vec<String>,
    /// Names that `--select` leaves out.
    pub unselected: Vec<String>,
}

impl PlannedFields {
    /// Plan the columns for files with this `header`; `None` if nothing names the fields.
    ///
    /// # Errors
    /// When `naming` contradicts the header, or a name cannot be that of a column.
    pub(super) fn new(header: Option<&Header>, file: &str, naming: &Naming) -> Result<Option<PlannedFields>> {
        let Some(names) = naming.columns.as_ref().or(header.map(|header| &header.names)) else {
            return Ok(None);
        };
        let own = FieldNames::new(names, naming);
        if let Some(problem) = own.problems(header, file).into_iter().next() {
            return Err(problem);
        }
        let mut planned = PlannedFields::default();
        let mut wanted = Vec::new();
        for (field, name) in names.iter().enumerate() {
            if name.contains('\0') {
                return Err(
                    Error::input(format!("{file}, column {}: {NUL_IN_NAME}", field + 1)).with_help(NUL_HELP)
                );
            }
            let renamed = own.renamed(field);
            if !own.is_selected(field) {
                planned.unselected.push(own.shown(field));
            } else if name.trim().is_empty() && naming.ignore_extra && renamed.is_none() {
                planned.ignored.push(String::new());
            } else {
                wanted.push((field, renamed.map_or_else(|| own.column(field).to_owned(), sql_name)));
                let made = own.made.iter().find(|made| made.field == field + 1 && renamed.is_none());
                planned.made.extend(made.cloned());
            }
        }
        // Another field may have been given one of these names.
        let (columns, remade) = column_names(&wanted);
        planned.columns = vec![None; names.len()];
        for ((field, _), column) in wanted.into_iter().zip(columns) {
            planned.columns[field] = Some(column);
        }
        planned.made.retain(|made| remade.iter().all(|again| again.field != made.field));
        planned.made.extend(remade);
        planned.made.sort_by_key(|made| made.field);
        Ok(Some(planned))
    }

    /// Check that the columns that `naming` adds are none of these, nor the same twice.
    ///
    /// # Errors
    /// At the first one that is.
    pub(super) fn check_added(&self, naming: &Naming) -> Result<()> {
        let mut taken: HashSet<String> = self.columns.iter().flatten().cloned().collect();
        let is_taken = |(name, _): &&(String, AddedValue)| !taken.insert(naming.added_name(name));
        match naming.added.iter().find(is_taken) {
            Some((name, value)) => Err(cannot_add(name, value, ALREADY_LOADED, ONLY_ONCE)),
            None => Ok(()),
        }
    }
}
