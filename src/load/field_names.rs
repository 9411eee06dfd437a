//! The names by which flags call fields, and what is wrong with them.

use crate::Error;
use crate::csv::{Header, NameStyle};
use crate::load::names::{MadeName, column_names, sql_name};
use crate::load::options::{AddedValue, Naming};
use crate::sql::fold;

/// The problem of a name with a zero byte, and the remedy.
pub(super) const NUL_IN_NAME: &str = "the name of the column contains a NUL character";
pub(super) const NUL_HELP: &str =
    "the file may be in UTF-16, or may not be text: name its encoding with --encoding, or use --sniff";

/// Why a column cannot be loaded twice, and the remedy.
pub(super) const ALREADY_LOADED: &str = "the column is already loaded";
pub(super) const ONLY_ONCE: &str = "every column can be loaded only once";

/// The names of the fields of a file, and those of the columns that a new table would have for them. Flags may call a
/// field by either.
#[derive(Debug)]
pub(super) struct FieldNames<'a> {
    /// As in the header, or as `--columns` gives them.
    names: &'a [String],
    naming: &'a Naming,
    /// Those of the columns of a new table.
    columns: Vec<String>,
    /// Fields whose names could not be those of their columns.
    pub made: Vec<MadeName>,
    /// Whether `--select` names each field; all are selected without it.
    selected: Vec<bool>,
}

impl<'a> FieldNames<'a> {
    /// The fields called `names`, in the way of `naming`.
    pub(super) fn new(names: &'a [String], naming: &'a Naming) -> Self {
        let own = |name: &String| match naming.columns {
            Some(_) => sql_name(name),
            None => naming.style.apply(name),
        };
        let (columns, made) = column_names(&names.iter().map(own).enumerate().collect::<Vec<_>>());
        let mut own = FieldNames { names, naming, columns, made, selected: Vec::new() };
        own.selected = vec![naming.select.is_none(); names.len()];
        for selected in naming.select.iter().flatten() {
            own.called(selected).into_iter().for_each(|field| own.selected[field] = true);
        }
        own
    }

    /// The name of the column of `field` in a new table.
    pub(super) fn column(&self, field: usize) -> &str {
        &self.columns[field]
    }

    /// The same, if it had to be made: an earlier load may have created the table.
    pub(super) fn made_column(&self, field: usize) -> Option<&str> {
        self.made.iter().find(|made| made.field == field + 1).map(|made| made.column.as_str())
    }

    /// The name that `--map` gives to `field`.
    pub(super) fn renamed(&self, field: usize) -> Option<&'a str> {
        let (name, column) = (self.names[field].trim(), self.column(field));
        let naming = self.naming;
        let find = |called: &str| naming.map.iter().find(|(from, _)| from == called);
        find(name).or_else(|| find(column)).map(|(_, to)| to.as_str())
    }

    /// Whether `--select` leaves `field` in.
    pub(super) fn is_selected(&self, field: usize) -> bool {
        self.selected[field]
    }

    /// The fields that `--select` calls `called`: those of that very name, or else those whose name is the same but for its
    /// spelling, or else the one whose column would have that name.
    fn called(&self, called: &str) -> Vec<usize> {
        let find = |is_meant: &dyn Fn(usize) -> bool| -> Vec<usize> {
            (0..self.names.len()).filter(|field| is_meant(*field)).collect()
        };
        let mut found = find(&|field| self.names[field].trim() == called.trim());
        if found.is_empty() {
            found = find(&|field| is_same(called, &self.names[field]));
        }
        if found.is_empty() {
            found = find(&|field| is_same(called, self.column(field)));
        }
        found
    }

    /// What a report calls `field`: its name, or its place if it has none.
    pub(super) fn shown(&self, field: usize) -> String {
        match self.names[field].trim() {
            "" => format!("field {} ({})", field + 1, self.column(field)),
            _ => self.names[field].clone(),
        }
    }

    /// What is wrong with the `--columns`, `--select` and `--map` for `file`, which has this `header`.
    pub(super) fn problems(&self, header: Option<&Header>, file: &str) -> Vec<Error> {
        let FieldNames { names, naming, columns, .. } = self;
        let mut problems = Vec::new();
        if let (Some(columns), Some(header)) = (&naming.columns, header)
            && columns.len() != header.names.len()
        {
            let message =
                format!("--columns names {} columns, but {file} has {}", columns.len(), header.names.len());
            problems.push(Error::usage(message).with_help("name every column of the file, in its order"));
        }
        // `--columns` replaces the names of the header.
        let owner = if naming.columns.is_some() { "--columns" } else { file };
        let shown = |field: usize| self.made_column(field).unwrap_or(&names[field]).to_owned();
        let shown: Vec<String> = (0..names.len()).map(shown).collect();
        let unknown = |message: String| Error::usage(message).with_help(format!("it has {}", listed(&shown)));
        let known = || names.iter().chain(columns);
        for selected in naming.select.iter().flatten() {
            match self.called(selected)[..] {
                [] => {
                    let message = format!("--select names {}, which {owner} does not have", selected.trim());
                    problems.push(unknown(message));
                }
                [_] => {}
                [one, other, ..] => problems.push(self.ambiguous(selected, one, other, owner)),
            }
        }
        for (from, _) in &naming.map {
            if !known().any(|name| name.trim() == from) {
                problems.push(unknown(format!("--map {from}=… names a column that {owner} does not have")));
            }
        }
        problems
    }
}

impl FieldNames<'_> {
    /// The error for a name by which `--select` calls the field `one` as well as the `other`.
    fn ambiguous(&self, selected: &str, one: usize, other: usize, owner: &str) -> Error {
        let named = |field: usize| format!("field {} ({})", field + 1, self.names[field].trim());
        let (selected, one, other) = (selected.trim(), named(one), named(other));
        Error::usage(format!("--select names {selected}, but {owner} has two such fields: {one} and {other}"))
            .with_help("give every field a name of its own with --columns, and select by those names")
    }
}

impl Naming {
    /// The column that `--add-column` calls `name`.
    pub(super) fn added_name(&self, name: &str) -> String {
        match self.style {
            NameStyle::AsIs => sql_name(name),
            NameStyle::SnakeCase => self.style.apply(name),
        }
    }
}

/// The error for an `--add-column` that cannot be.
pub(super) fn cannot_add(name: &str, value: &AddedValue, reason: &str, help: &str) -> Error {
    Error::usage(format!("--add-column {name}={value}: {reason}")).with_help(help)
}

/// Whether two names are the same but for capitals and blanks around them, and quotes as in SQL.
fn is_same(a: &str, b: &str) -> bool {
    spelling(a) == spelling(b) || fold(a).is_some_and(|a| fold(b).is_some_and(|b| a == b))
}

/// `name` without what the spelling of an unquoted name does not depend on.
pub(super) fn spelling(name: &str) -> String {
    name.trim().to_ascii_lowercase()
}

/// `names` for a message, separated by commas: the first of them, if there are many.
pub(super) fn listed(names: &[String]) -> String {
    const MOST: usize = 20;
    let shown = names[..names.len().min(MOST)].join(", ");
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
