//! CSV bytes → records, each with its place in the file.
//!
//! ```text
//!  names ─▶ input: open, unpack ─▶ records: decode, scan, split ─▶ files: one after the other ─▶ load
//!                       └─▶ sniff: which dialect? ─▲
//! ```
//!
//! - `input` finds the files that names and patterns mean, and unpacks gzip and zstd, told by content.
//! - `records` splits a stream as PostgreSQL's `COPY … (FORMAT csv)` does: quotes may open and close anywhere
//!   in a field, an unquoted empty field is NULL and a quoted one is the empty string, blank lines are
//!   records, and all lines end as the first one does. The `csv` crate cannot tell `""` from nothing, which is
//!   why the splitting is done here. `\.` is a value like any other, as on servers from 18 on.
//! - `scan` finds the bytes that matter, `decode` turns other encodings into UTF-8 and keeps the original.
//! - `record` is what comes out; [`dialect`] says how a file is written, and `sniff` guesses it.
//! - `files` reads several inputs as one.

pub(crate) mod decode;
pub mod dialect;
pub(crate) mod files;
pub(crate) mod input;
pub(crate) mod limits;
pub(crate) mod record;
pub(crate) mod records;
pub(crate) mod scan;
pub(crate) mod sniff;

pub use crate::csv::dialect::Dialect;
pub use crate::csv::files::{Files, Format};
pub use crate::csv::input::{Input, Inputs, Reader, Source};
pub use crate::csv::limits::{MAX_RECORD_BYTES, MOST_RECORD_BYTES};
pub use crate::csv::record::{Field, Record};
pub use crate::csv::records::{Header, Records};
pub use crate::csv::sniff::Sniffed;

/// `value` between quotes for an error message: control characters escaped, shortened to 60 characters.
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
