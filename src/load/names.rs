//! The names of fields, made good as names of columns.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::sql::{LONGEST_IDENTIFIER, fold, truncate};

/// A field whose name could not be the name of its column.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MadeName {
    /// The position of the field in a record, from 1.
    pub field: usize,
    /// Its name in the file; empty if it has none.
    pub name: String,
    /// The name of its column.
    pub column: String,
    /// Why they differ: `empty`, `doubled` or `long`.
    pub because: &'static str,
}

/// The names of the columns of a new table for fields of these indexes and names, made good where they are empty, doubled
/// or too long. The second list tells which were.
pub(crate) fn column_names(fields: &[(usize, String)]) -> (Vec<String>, Vec<MadeName>) {
    // A name that is fine as it is belongs to its own column, even if an earlier one is made up.
    let mut taken: HashSet<String> = HashSet::with_capacity(fields.len());
    let mut is_first = |name: &str| !name.is_empty() && taken.insert(truncate(name).to_owned());
    let is_first: Vec<bool> = fields.iter().map(|(_, name)| is_first(name)).collect();
    let mut numbers = HashMap::new();
    let mut made = Vec::new();
    let mut columns = Vec::with_capacity(fields.len());
    for ((field, name), is_first) in fields.iter().zip(is_first) {
        let (column, because) = match name.len() {
            // As the server calls the columns of VALUES.
            0 => (free(&format!("column{}", field + 1), &mut taken, &mut numbers, true), "empty"),
            _ if !is_first => (free(name, &mut taken, &mut numbers, false), "doubled"),
            length if length > LONGEST_IDENTIFIER => (truncate(name).to_owned(), "long"),
            _ => {
                columns.push(name.clone());
                continue;
            }
        };
        made.push(MadeName { field: field + 1, name: name.clone(), column: column.clone(), because });
        columns.push(column);
    }
    (columns, made)
}

/// `name` itself if `may_be_plain` and it is free, otherwise with the first number that makes it so: `name_1`. The beginnings
/// of names have their last numbers in `numbers`: a file may have a million fields of one name.
fn free(
    name: &str,
    taken: &mut HashSet<String>,
    numbers: &mut HashMap<String, u64>,
    may_be_plain: bool,
) -> String {
    if may_be_plain && taken.insert(name.to_owned()) {
        return name.to_owned();
    }
    let last = numbers.entry(cut(name, LONGEST_IDENTIFIER - 2).to_owned()).or_default();
    loop {
        *last += 1;
        let suffix = format!("_{last}");
        let free = format!("{}{suffix}", cut(name, LONGEST_IDENTIFIER - suffix.len()));
        if taken.insert(free.clone()) {
            return free;
        }
    }
}

/// The beginning of `name` that has at most `length` bytes.
fn cut(name: &str, length: usize) -> &str {
    let mut end = name.len().min(length);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// The column that the SQL identifier `name` stands for; `name` itself if it is none.
pub(crate) fn sql_name(name: &str) -> String {
    fold(name).unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::NameStyle;

    #[test]
    fn many_fields_of_one_name_are_named_in_time() {
        let fields: Vec<_> = (0..100_000).map(|field| (field, "0".to_owned())).collect();
        let (columns, made) = column_names(&fields);
        assert_eq!((columns[99_999].as_str(), made.len()), ("0_99999", 99_999));
    }

    #[test]
    fn names_are_made_good() {
        let long = "x".repeat(70);
        let names = ["", "ID", "id", "Full name", "a", "a", "a_1", "column1", "", &long, &long];
        let fields: Vec<_> = names.iter().map(|name| NameStyle::AsIs.apply(name)).enumerate().collect();
        let (columns, made) = column_names(&fields);
        let cut = &long[..63];
        let cut_1 = format!("{}_1", &long[..61]);
        let expected =
            ["column1_1", "id", "id_1", "Full name", "a", "a_2", "a_1", "column1", "column9", cut, &cut_1];
        assert_eq!(columns, expected);
        let reasons: Vec<(usize, &str)> = made.iter().map(|made| (made.field, made.because)).collect();
        assert_eq!(
            reasons,
            [(1, "empty"), (3, "doubled"), (6, "doubled"), (9, "empty"), (10, "long"), (11, "doubled")]
        );
    }
}
