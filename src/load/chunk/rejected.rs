//! A record that was not loaded, and why.

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::Error;

/// Why a row was not loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "it is the key in the log")]
pub(crate) struct Reason {
    /// The column it is about, if it is about one.
    pub column: Option<String>,
    /// Which field of the record that is, from 1.
    #[serde(skip)]
    pub field: Option<usize>,
    /// The value it is about, shortened and printable.
    pub value: Option<String>,
    /// In words.
    pub reason: String,
    /// What the server says besides: the key that is there already, the row that breaks the constraint.
    pub detail: Option<String>,
    /// The remedy.
    #[serde(skip)]
    pub help: String,
    /// The server's code; `None` when the row was never sent.
    pub sqlstate: Option<String>,
    /// The constraint that it breaks.
    pub constraint: Option<String>,
}

impl Reason {
    /// Nothing but words.
    pub(crate) fn new(reason: String) -> Self {
        Reason { reason, ..Reason::default() }
    }

    /// About `value`, which is printable.
    #[must_use]
    pub(crate) fn with_value(self, value: String) -> Self {
        Reason { value: Some(value), ..self }
    }
}

/// A row that was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Reject {
    /// The file that it was in.
    #[serde(serialize_with = "as_text")]
    pub file: std::sync::Arc<str>,
    /// The line that it begins on, from 1.
    pub first_line: u64,
    /// The line that it ends on.
    pub last_line: u64,
    /// Bytes before it in the file, decompressed.
    pub byte_offset: u64,
    /// Why.
    #[serde(flatten)]
    pub reason: Reason,
    /// Its bytes, with its line end.
    #[serde(skip)]
    pub raw: Bytes,
}

fn as_text<S: Serializer>(text: &std::sync::Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl Reject {
    /// The error for a load that may not have any.
    pub(crate) fn into_error(self) -> Error {
        let Reject { file, first_line, reason, .. } = self;
        let Reason { column, field, reason, help, .. } = reason;
        let place = match (field, column) {
            (Some(field), Some(column)) => format!(", column {field} ({column})"),
            _ => String::new(),
        };
        Error::input(format!("{file}, line {first_line}{place}: {reason}")).with_help(help)
    }
}
