//! The bytes of CSV or NDJSON → records, each with its position in the file.
//!
//! ```text
//!  paths ─▶ input: open, decompress ─▶ records: decode, scan, split ─▶ files: one after another ─▶ load
//!                       └─▶ sniff: detect the dialect ─▲
//! ```
//!
//! - `input` resolves paths and patterns to files; `decompress` recognizes gzip and zstd by content.
//! - `records` splits a stream exactly as PostgreSQL's `COPY … (FORMAT csv)` does: quotes may open and close
//!   anywhere in a field, an unquoted empty field is NULL and a quoted one is the empty string, blank lines are
//!   records, and every line must end as the first one does. The `csv` crate does not distinguish `""` from an
//!   unquoted empty field, which is why it is not used here. `\.` is an ordinary value, as in PostgreSQL 18 and later.
//! - `reader` is the trait of what reads records, in whatever format; `scan` finds the special bytes; `decode` converts other encodings to UTF-8 and keeps the original bytes.
//! - `ndjson` reads JSON objects, one on each line.
//! - `record` holds one record; [`dialect`] describes how a file is written, and `sniff` detects it.
//! - `files` reads several inputs as one, by the names in their headers (`layout`).

pub(crate) mod decode;
mod decompress;
pub mod dialect;
pub(crate) mod files;
pub(crate) mod input;
mod layout;
pub(crate) mod limits;
mod ndjson;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod records;
pub(crate) mod scan;
pub(crate) mod sniff;

pub use crate::csv::decompress::ByteSource;
pub use crate::csv::dialect::{BlankLines, Dialect, StrayQuotes};
pub use crate::csv::files::{Files, InputFormat, Syntax};
pub use crate::csv::input::{Input, InputReader, Inputs};
pub use crate::csv::limits::{DEFAULT_MAX_RECORD_BYTES, MAX_RECORD_BYTES_CEILING};
pub use crate::csv::reader::Header;
pub use crate::csv::record::{Defect, Field, Notation, Record, StrayFields};
pub use crate::csv::records::Records;
pub use crate::csv::sniff::{Detect, HeaderVerdict, Sniffed};

/// `value` in quotes for an error message: control characters are escaped, and at most 60 characters are shown.
pub fn excerpt(value: &[u8]) -> String {
    const LONGEST: usize = 60;
    let mut shown = String::from("\"");
    let text = String::from_utf8_lossy(&value[..value.len().min(4 * LONGEST)]);
    for character in text.chars().take(LONGEST) {
        if character.is_control() || character == '"' || character == '\\' {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        return format!("{shown}…\" ({} bytes)", value.len());
    }
    shown + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_short_and_printable() {
        assert_eq!(excerpt(b"a\x1b[31m\n"), r#""a\u{1b}[31m\n""#);
        assert_eq!(excerpt("é".repeat(100).as_bytes()), format!("\"{}…\" (200 bytes)", "é".repeat(60)));
    }
}
