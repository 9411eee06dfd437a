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
//! - `scan` finds the special bytes; `decode` converts other encodings to UTF-8 and keeps the original bytes.
//! - `ndjson` reads JSON objects, one on each line. `reader` is the trait of what reads records; `format` finds out which
//!   format files have, and has its reader.
//! - `record` holds one record; [`dialect`] describes how a file is written, and `sniff` detects it.
//! - `replay` gives back what was only looked at.
//! - `files` reads several inputs as one, by the names in their headers (`layout`), in the style of `names`.

pub(crate) mod decode;
mod decompress;
pub mod dialect;
pub(crate) mod files;
pub(crate) mod format;
pub(crate) mod input;
pub(crate) mod layout;
pub(crate) mod limits;
pub(crate) mod names;
mod ndjson;
pub(crate) mod piece;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod records;
mod replay;
pub(crate) mod scan;
pub(crate) mod sniff;

pub use crate::csv::decompress::ByteSource;
pub use crate::csv::dialect::{BlankLines, Dialect, StrayQuotes};
pub use crate::csv::files::Files;
pub use crate::csv::format::{InputFormat, Syntax};
pub use crate::csv::input::{Input, InputReader, Inputs};
pub use crate::csv::limits::{DEFAULT_MAX_RECORD_BYTES, MAX_RECORD_BYTES_CEILING};
pub use crate::csv::names::NameStyle;
pub use crate::csv::reader::Header;
pub use crate::csv::record::{Defect, Field, Notation, Record, StrayFields};
pub use crate::csv::records::Records;
pub use crate::csv::sniff::{Detect, HeaderVerdict, Sniffed};

/// The most characters of a value that are shown.
const LONGEST_EXCERPT: usize = 60;

/// `value` for a document: control characters are escaped, and at most 60 characters are shown.
pub(crate) fn shortened(value: &[u8]) -> String {
    let (shown, more) = shown(value, char::is_control);
    if more { format!("{shown}… ({} bytes)", value.len()) } else { shown }
}

/// `value` in quotes for an error message: control characters are escaped, and at most 60 characters are shown.
pub fn excerpt(value: &[u8]) -> String {
    let (shown, more) = shown(value, |character| character.is_control() || "\"\\".contains(character));
    if more { format!("\"{shown}…\" ({} bytes)", value.len()) } else { format!("\"{shown}\"") }
}

/// The first characters of `value`, with those that `is_escaped` tells escaped, and whether there are more.
fn shown(value: &[u8], is_escaped: impl Fn(char) -> bool) -> (String, bool) {
    let text = String::from_utf8_lossy(&value[..value.len().min(4 * LONGEST_EXCERPT)]);
    let mut shown = String::new();
    for character in text.chars().take(LONGEST_EXCERPT) {
        if is_escaped(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    (shown, text.chars().nth(LONGEST_EXCERPT).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_short_and_printable() {
        assert_eq!(excerpt(b"a\x1b[31m\n"), r#""a\u{1b}[31m\n""#);
        assert_eq!(shortened(b"a\x1b[31m\n\"\\"), r#"a\u{1b}[31m\n"\"#);
        assert_eq!(excerpt("é".repeat(100).as_bytes()), format!("\"{}…\" (200 bytes)", "é".repeat(60)));
    }
}
