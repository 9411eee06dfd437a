//! Which field of the files goes to which column, and the columns that are not in them, as a caller sets it.

use std::fmt;
use std::str::FromStr;

use crate::csv::NameStyle;

/// Which column each field of a record belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Naming {
    /// The columns in the order of the fields. The header, if there is one, is then ignored.
    pub columns: Option<Vec<String>>,
    /// Names in the header, each with the column into which its field is loaded.
    pub map: Vec<(String, String)>,
    /// Skip names in the header that the table does not have.
    pub ignore_extra: bool,
    /// The names of the fields to load; `None` for all.
    pub select: Option<Vec<String>>,
    /// How names of fields become names of columns.
    pub style: NameStyle,
    /// Columns that are not in the files, each with what it is given.
    pub added: Vec<(String, AddedValue)>,
}

/// What a column that is not in the files is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddedValue {
    /// The start of the transaction that looks the table up, the same for all rows.
    Now,
    /// The name of the row's file.
    File,
    /// The line on which the row's record begins, from 1.
    Line,
    /// This text.
    Constant(String),
}

impl FromStr for AddedValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "now()" => Ok(AddedValue::Now),
            "@file" => Ok(AddedValue::File),
            "@line" => Ok(AddedValue::Line),
            _ => match text.strip_prefix('@') {
                Some(constant) if constant.starts_with('@') => Ok(AddedValue::Constant(constant.to_owned())),
                Some(_) => {
                    Err("expected now(), @file, @line or a constant, in which a first @ is doubled".into())
                }
                None => Ok(AddedValue::Constant(text.to_owned())),
            },
        }
    }
}

impl fmt::Display for AddedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddedValue::Now => "now()",
            AddedValue::File => "@file",
            AddedValue::Line => "@line",
            AddedValue::Constant(text) => text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_values_are_words_or_constants() {
        for (text, expected) in [
            ("now()", AddedValue::Now),
            ("@file", AddedValue::File),
            ("@line", AddedValue::Line),
            ("", AddedValue::Constant(String::new())),
            ("now", AddedValue::Constant("now".into())),
            ("@@file", AddedValue::Constant("@file".into())),
        ] {
            assert_eq!(text.parse(), Ok(expected));
        }
        assert!("@row".parse::<AddedValue>().is_err());
    }
}
