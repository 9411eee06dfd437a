//! What is wrong with a file that cannot be divided into records, and the remedy.

use std::io;

use crate::Error;
use crate::csv::records::{Extent, LineEnd, Records};
use crate::error::Location;

impl<R> Records<R> {
    #[cold]
    pub(super) fn read_failed(&self, error: &io::Error) -> Error {
        Error::input(format!("failed to read {}: {error}", self.name))
    }

    pub(super) fn location(&self) -> String {
        format!("{}, line {}", self.name, self.line)
    }

    /// The line on which the current record begins.
    pub(super) fn place(&self) -> Location {
        Location::on_line(&self.name, self.line)
    }

    #[cold]
    pub(super) fn mixed_line_ends(&self, byte: u8, first: LineEnd) -> Error {
        let found = if byte == b'\n' { "line feed" } else { "carriage return" };
        let before = match first {
            LineEnd::Lf => "a line feed",
            LineEnd::CrLf => "carriage return and line feed",
            LineEnd::Cr => "a carriage return",
        };
        Error::input(format!(
            "{}: a {found} outside quotes, but the first line of the file ends with {before}",
            self.location()
        ))
        .with_help("use the same line ending throughout, or quote the field that contains this one")
        .at(self.place())
    }

    #[cold]
    pub(super) fn hidden_lines(&self, extent: Extent) -> Error {
        let (place, field) = (self.location(), self.strays.first);
        let lines = extent.line_feeds.max(extent.carriage_returns) + 1;
        Error::input(format!(
            "{place}, field {field}: a quote within the value joins {lines} lines to one record, unlike in the first MiB, by \
             which the quote was detected"
        ))
        .with_help(
            "if quotes are parts of values: --quote none; if they enclose only whole fields: --stray-quotes keep; if it is \
             right as it is: --quote '\"'",
        )
        .at(self.place())
    }

    #[cold]
    pub(super) fn unclosed_quote(&self, is_stray: bool) -> Error {
        let message = format!("{}: a quote opened in this record is never closed", self.location());
        let help = if is_stray || self.strays.count > 0 {
            "close it, and double every quote inside a value; if it is a part of its value, use --stray-quotes keep, or \
             --quote none"
        } else {
            "close it, and double every quote inside a value"
        };
        Error::input(message).with_help(help).at(self.place())
    }

    #[cold]
    pub(super) fn too_long(&self, in_quotes: bool) -> Error {
        let limit = self.max_record_bytes;
        let open = if in_quotes { "; a quote in it is still open" } else { "" };
        Error::input(format!(
            "{}: the record that begins here is longer than {limit} bytes{open}",
            self.location()
        ))
        .with_help(
            "check for an unclosed quote, or a file that is not CSV; --max-record-bytes raises the limit",
        )
        .at(self.place())
    }
}
