//! Which field of the file goes to which column of the table.

use crate::load::options::Naming;
use std::sync::Arc;

use crate::catalog::{Column, Table, TableName};
use crate::csv::{Header, excerpt};
use crate::encode::{Encoder, TypeKind};
use crate::load::options::Mode;
use crate::sql::quote_list;
use crate::{Error, Result};

/// One column that is loaded.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Which field of a record holds it, from 0.
    pub field: usize,
    /// The table's column.
    pub column: Column,
    /// Writes its values; `None` where only the server reads them.
    pub encoder: Option<Encoder>,
}

/// Every column that is loaded, in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct ColumnMapping {
    /// The columns.
    pub columns: Vec<Target>,
    /// How many fields a record has.
    pub fields: usize,
    /// Names in the header that were skipped because that was asked for.
    pub ignored: Vec<String>,
}

/// Who reads the values of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueFormat {
    /// We did: they are in the type's binary format.
    Binary,
    /// The server will: they stand as in the file.
    Text,
}

impl ColumnMapping {
    /// Who reads each column, to begin with, in `mode`.
    ///
    /// A COPY has one format for all columns; an array in a batch would be taken apart by `unnest()`.
    pub(super) fn formats(&self, mode: Mode) -> Arc<[ValueFormat]> {
        let is_read_by_server = |target: &Target| {
            let Column { column_type, array_oid, .. } = &target.column;
            let in_batch = matches!(column_type.kind, TypeKind::Array { .. }) || *array_oid == 0;
            target.encoder.is_none() || (mode == Mode::Batch && in_batch)
        };
        let all = mode == Mode::Copy && self.columns.iter().any(is_read_by_server);
        let text =
            |target| if all || is_read_by_server(target) { ValueFormat::Text } else { ValueFormat::Binary };
        self.columns.iter().map(text).collect()
    }

    /// The columns' names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|target| target.column.name.as_str())
    }

    /// The beginning of an INSERT of these columns into `table`, up to where the rows come from.
    pub(super) fn insert_into(&self, table: &TableName) -> String {
        let always = self.columns.iter().any(|target| target.column.identity_always);
        let overriding = if always { " OVERRIDING SYSTEM VALUE" } else { "" };
        format!("INSERT INTO {} ({}){overriding}", table.sql(), quote_list(self.names()))
    }

    /// Find the column of `table` that each field is for.
    ///
    /// # Errors
    /// When a name is unknown, given twice, or names a column that cannot be loaded: the first such problem.
    pub(super) fn find(
        header: Option<&Header>,
        file: &str,
        naming: &Naming,
        table: &Table,
    ) -> Result<ColumnMapping> {
        let (targets, problems) = ColumnMapping::find_all(header, file, naming, table);
        problems.into_iter().next().map_or(Ok(targets), Err)
    }

    /// As [`ColumnMapping::find`], but with every problem; the targets are those that have none.
    pub(super) fn find_all(
        header: Option<&Header>,
        file: &str,
        naming: &Naming,
        table: &Table,
    ) -> (ColumnMapping, Vec<Error>) {
        let names = match (&naming.columns, header) {
            (Some(columns), _) => columns.clone(),
            (None, Some(header)) => header.names.clone(),
            // Without any names the fields are the columns, but for those that are never written.
            (None, None) => {
                let written = table.columns.iter().filter(|column| !column.generated);
                written.map(|column| crate::sql::quote(&column.name)).collect()
            }
        };
        let by_header = naming.columns.is_none() && header.is_some();
        let place = |index: usize| match header {
            Some(header) if by_header => format!("{file}, line {}, column {}", header.line, index + 1),
            _ => format!("{file}, column {}", index + 1),
        };
        let mut problems = Vec::new();
        if let (Some(columns), Some(header)) = (&naming.columns, header)
            && columns.len() != header.names.len()
        {
            let message =
                format!("--columns names {} columns, but {file} has {}", columns.len(), header.names.len());
            problems.push(Error::usage(message).with_help("name every column of the file, in its order"));
        }
        for (from, _) in &naming.map {
            if !names.iter().any(|name| name.trim() == from) {
                problems.push(
                    Error::usage(format!("--map {from}=… names a column that {file} does not have"))
                        .with_help(format!("it has {}", names.join(", "))),
                );
            }
        }
        let mut targets = ColumnMapping { columns: Vec::new(), fields: names.len(), ignored: Vec::new() };
        let mut unknown = Vec::new();
        for (field, name) in names.iter().enumerate() {
            let refuse = |reason: String| Error::input(format!("{}: {reason}", place(field)));
            if name.trim().is_empty() {
                if naming.ignore_extra {
                    targets.ignored.push(String::new());
                    continue;
                }
                problems.push(refuse("the header has no name here".into()).with_help(
                    "the first line has to name the table's columns; --ignore-extra skips what has no name",
                ));
                continue;
            }
            let mapped = naming.map.iter().find(|(from, _)| from == name.trim()).map(|(_, to)| to.as_str());
            let is_taken = |column: &&Column| targets.names().any(|taken| taken == column.name);
            let column = match (mapped, by_header) {
                (Some(column), _) => table.column_by_sql_name(column),
                (None, false) => table.column_by_sql_name(name),
                (None, true) => {
                    let mut called: Vec<&Column> = table.columns_for_header(name).collect();
                    // Of names that fold to the same one, each that is a column's as it stands means that column.
                    if names.iter().filter(|other| other.trim().eq_ignore_ascii_case(name.trim())).count() > 1
                    {
                        called.reverse();
                    }
                    called.iter().copied().find(|column| !is_taken(column)).or(called.first().copied())
                }
            };
            let Some(column) = column else {
                match (mapped, naming.ignore_extra) {
                    (None, true) => targets.ignored.push(name.to_owned()),
                    _ => unknown.push(excerpt(mapped.unwrap_or(name).as_bytes())),
                }
                continue;
            };
            if let Some(other) = targets.columns.iter().find(|other| other.column.name == column.name) {
                let (other, name) = (names[other.field].trim(), name.trim());
                let how = if other == name { String::new() } else { format!(", as {other} and as {name}") };
                problems.push(
                    refuse(format!("the header names {} twice{how}", column.name))
                        .with_help("every column can be loaded once only"),
                );
                continue;
            }
            if column.generated {
                problems.push(
                    refuse(format!("{} is a generated column, which the server computes", column.name))
                        .with_help("leave it out of the file, or skip it with --ignore-extra and --map"),
                );
                continue;
            }
            let encoder = table.encoder(column);
            targets.columns.push(Target { field, column: column.clone(), encoder });
        }
        if !unknown.is_empty() {
            let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            let line = header.filter(|_| by_header).map(|header| format!(", line {}", header.line));
            let help = other_delimiter(&names).unwrap_or_else(|| {
                format!(
                    "its columns are {}; rename with --map, or skip with --ignore-extra",
                    columns.join(", ")
                )
            });
            problems.push(
                Error::input(format!(
                    "{file}{}: the header names {}, which {} does not have",
                    line.unwrap_or_default(),
                    unknown.join(", "),
                    table.name
                ))
                .with_help(help),
            );
        }
        if targets.columns.is_empty() && problems.is_empty() {
            problems.push(
                Error::input(format!("{file} has no column of {}", table.name))
                    .with_help("the first line has to name the table's columns"),
            );
        }
        (targets, problems)
    }
}

/// What to do where a header of one name looks like several.
pub(super) fn other_delimiter(names: &[String]) -> Option<String> {
    let [name] = names else { return None };
    let (_, flag) =
        [(';', "';'"), ('\t', "tab"), ('|', "'|'")].into_iter().find(|(sign, _)| name.contains(*sign))?;
    Some(format!("its fields seem to be separated in another way: --delimiter {flag}, or --sniff"))
}
