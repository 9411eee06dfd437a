//! Checks that a table can be loaded at all.

use crate::catalog::Table;
use crate::error::ErrorKind;
use crate::load::options::Mode;
use crate::{Error, Result};

/// Check that `mode` can load into `table`, and into its columns called `names`.
///
/// This has to be checked first because a COPY that fails at its start leaves the driver's connection unusable.
///
/// # Errors
/// When it cannot, with the remedy.
pub fn check_can_load(table: &Table, mode: Mode, names: &[&str]) -> Result<()> {
    let refuse = |reason: String, help: &str| Err(Error::new(ErrorKind::Database, reason).with_help(help));
    let name = &table.name;
    if let Some(kind) = table.other_kind {
        return refuse(format!("{name} is {kind}"), "name a table, or a view with such a trigger");
    }
    if let Some(column) =
        table.columns.iter().find(|column| !column.insertable && names.contains(&column.name.as_str()))
    {
        return refuse(
            format!("the session's role may not insert into column {} of {name}", column.name),
            &format!("as its owner: GRANT INSERT ON {} TO the role", name.sql()),
        );
    }
    if table.has_row_security && mode == Mode::Copy {
        return refuse(
            format!("{name} has row security policies, which COPY does not support"),
            "use --mode rows or --mode batch",
        );
    }
    if mode == Mode::Batch && !table.session.array_nulls {
        return refuse(
            "array_nulls is off in this session, so arrays of values cannot contain NULL".to_owned(),
            "use --mode copy or --mode rows, or set it on: PGOPTIONS='-c array_nulls=on'",
        );
    }
    if table.has_insert_rules && matches!(mode, Mode::Rows | Mode::Batch) {
        return refuse(
            format!("{name} has a rule for INSERT, so inserted rows cannot be counted"),
            "use --mode copy, which ignores rules",
        );
    }
    Ok(())
}
