//! Rejected records, and the reasons.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::Error;
use crate::error::Location;

/// Why a record was rejected. The serialized fields are the keys of the rejects log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::struct_field_names, reason = "`reason` is the key in the log")]
pub(crate) struct Reason {
    /// The column at fault, or the columns of a key, separated by commas; `None` if no column is at fault.
    pub column: Option<String>,
    /// The field of the record that holds the column, from 1; `None` unless exactly one column is at fault.
    #[serde(skip)]
    pub field: Option<usize>,
    /// The value at fault, shortened and printable; `None` if unknown.
    pub value: Option<String>,
    /// The message.
    pub reason: String,
    /// The server's DETAIL, such as the duplicate key; `None` if it sent none.
    pub detail: Option<String>,
    /// The remedy.
    #[serde(skip)]
    pub help: String,
    /// The server's SQLSTATE; `None` if the row was not sent.
    pub sqlstate: Option<String>,
    /// The constraint that the row violates; `None` if the server names none.
    pub constraint: Option<String>,
    /// The worker of Citus that refused the row; `None` if no error tells.
    #[serde(skip)]
    pub worker: Option<String>,
}

impl Reason {
    /// A reason with only a message.
    pub(crate) fn new(reason: String) -> Self {
        Reason { reason, ..Reason::default() }
    }
}

/// A record that was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Reject {
    /// Name of its file.
    #[serde(serialize_with = "as_text")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub file: Arc<str>,
    /// The line on which it begins, from 1.
    pub first_line: u64,
    /// The line on which it ends.
    pub last_line: u64,
    /// Bytes before it in the file, decompressed.
    pub byte_offset: u64,
    /// Why it was rejected.
    #[serde(flatten)]
    pub reason: Reason,
    /// Its bytes, including its line ending.
    #[serde(skip)]
    pub raw: Bytes,
}

/// The shape of a line in the log of rejected rows.
#[cfg(feature = "schema")]
#[derive(Debug)]
pub struct RejectSchema;

#[cfg(feature = "schema")]
impl schemars::JsonSchema for RejectSchema {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Reject::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Reject::json_schema(generator)
    }
}

fn as_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl Reject {
    /// Its line of the rejects log: where it is, and why it was rejected.
    pub(crate) fn log_line(&self) -> String {
        serde_json::to_string(self).expect("it has only text and numbers")
    }

    /// The error that ends a load in which no row may be rejected.
    pub(crate) fn into_error(self) -> Error {
        let Reject { file, first_line, reason, .. } = self;
        let Reason { column, field, reason, help, .. } = reason;
        let location = Location::on_line(&file, first_line);
        let location = field.map_or(location.clone(), |field| location.in_column(field));
        let column = match (field, column) {
            (Some(field), Some(column)) => format!(", column {field} ({column})"),
            _ => String::new(),
        };
        Error::input(format!("{file}, line {first_line}{column}: {reason}")).with_help(help).at(location)
    }
}
