//! Bytes → CSV records, each with its place in the file.
//!
//! Reads the dialect of PostgreSQL's `COPY … (FORMAT csv)`, byte for byte: quotes may open and close anywhere
//! in a field, an unquoted empty field is NULL and a quoted one is the empty string, blank lines are records,
//! and all lines end as the first one does. The `csv` crate cannot tell `""` from nothing, which is why the
//! splitting is done here.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use memchr::{memchr_iter, memchr2};

use crate::error::Kind;
use crate::{Error, Result};

/// How much is read at once, in bytes.
const BLOCK: usize = 256 * 1024;

/// A record longer than this is an error: most likely a quote that is never closed. In bytes.
pub const MAX_RECORD_BYTES: usize = 64 * 1024 * 1024;

/// UTF-8's byte order mark, which some programs put in front.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The special bytes of a CSV file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Between fields.
    pub delimiter: u8,
    /// Around fields that hold special bytes.
    pub quote: u8,
    /// Before a quote that belongs to a quoted field; the quote itself where it is doubled.
    pub escape: u8,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect { delimiter: b',', quote: b'"', escape: b'"' }
    }
}

/// How the lines of a file end; its first line decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Lf,
    CrLf,
    Cr,
}

/// Reads records one by one from `R`, holding one record and one block in memory.
#[derive(Debug)]
pub struct Records<R> {
    input: R,
    name: String,
    dialect: Dialect,
    max_record_bytes: usize,
    /// Bytes that end a run of ordinary ones.
    special: [bool; 256],
    buffer: Vec<u8>,
    /// `buffer[start..filled]` is read and not yet returned.
    start: usize,
    filled: usize,
    at_end: bool,
    line_end: Option<LineEnd>,
    /// The line that the next record begins on, from 1.
    line: u64,
    /// Bytes before `start` in the file.
    offset: u64,
    spans: Vec<Span>,
}

/// Where a field stands in its record.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    /// Whether a quote was seen in it.
    quoted: bool,
}

/// One record: its fields, and where it was.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
    dialect: Dialect,
    /// The line it begins on, from 1.
    pub line: u64,
}

/// The first record of a file, which names its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// As they are written, without their quotes; empty where there is none.
    pub names: Vec<String>,
    /// The line it begins on.
    pub line: u64,
}

/// The value of a field, as `COPY` would take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// Nothing between the delimiters.
    Null,
    /// The bytes without their quotes.
    Value(&'a [u8]),
}

/// Open `path`, which has to be something that can be read.
fn open(path: &Path) -> Result<File> {
    let failed = |error: io::Error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let error = Error::io(Kind::Input, "open", path, &error);
        if missing {
            return error.with_help("check the path; it starts at the current directory");
        }
        error
    };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(
            Error::input(format!("{} is a directory", path.display())).with_help("name a CSV file in it")
        );
    }
    Ok(file)
}

/// How many bytes `path` has; `None` where only reading will tell, as for a pipe.
///
/// # Errors
/// When it is missing, a directory, or may not be read.
pub fn size(path: &Path) -> Result<Option<u64>> {
    // A pipe is not opened, because what was written to it would be gone.
    match path.metadata() {
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => Ok(None),
        _ => Ok(open(path)?.metadata().ok().map(|metadata| metadata.len())),
    }
}

impl Records<File> {
    /// Open the file at `path`.
    ///
    /// # Errors
    /// When it is missing, a directory, or may not be read.
    pub fn open(path: &Path) -> Result<Self> {
        let file = open(path)?;
        Ok(Records::new(file, &path.display().to_string(), Dialect::default(), MAX_RECORD_BYTES))
    }
}

impl<R: Read> Records<R> {
    /// Read `input`, which errors call `name`.
    pub fn new(input: R, name: &str, dialect: Dialect, max_record_bytes: usize) -> Self {
        let mut special = [false; 256];
        for byte in [dialect.delimiter, dialect.quote, b'\n', b'\r'] {
            special[usize::from(byte)] = true;
        }
        Records {
            input,
            name: name.to_owned(),
            dialect,
            max_record_bytes,
            special,
            buffer: vec![0; BLOCK],
            start: 0,
            filled: 0,
            at_end: false,
            line_end: None,
            line: 1,
            offset: 0,
            spans: Vec::new(),
        }
    }

    /// What errors call the input.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of the input that have been returned as records.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The first record, as the names of the columns; `None` when the input is empty.
    ///
    /// # Errors
    /// As [`Records::next`].
    pub fn header(&mut self) -> Result<Option<Header>> {
        let Some(record) = self.next()? else { return Ok(None) };
        let mut scratch = Vec::new();
        let names = (0..record.len())
            .map(|index| match record.field(index, &mut scratch) {
                Field::Null => String::new(),
                Field::Value(name) => String::from_utf8_lossy(name).into_owned(),
            })
            .collect();
        Ok(Some(Header { names, line: record.line }))
    }

    /// The next record; `None` at the end of the input.
    ///
    /// # Errors
    /// When reading fails, a quote is never closed, a record is too long or lines end in different ways.
    // Not an Iterator: a record borrows the buffer that the next one overwrites.
    #[expect(clippy::should_implement_trait, reason = "a lending iterator has no trait yet")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        Ok(self.next_named()?.map(|(record, _)| record))
    }

    /// The next record, and what errors call the input.
    ///
    /// # Errors
    /// As [`Records::next`].
    pub fn next_named(&mut self) -> Result<Option<(Record<'_>, &str)>> {
        self.spans.clear();
        let Dialect { delimiter, quote, escape } = self.dialect;
        // Positions count from self.start, so that they hold when `fill` moves the bytes.
        let (mut at, mut field) = (0, 0);
        let (mut quoted, mut in_quotes, mut any_quotes) = (false, false, false);
        let (length, ending) = loop {
            let bytes = &self.buffer[self.start..self.filled];
            if in_quotes {
                let Some(found) = memchr2(quote, escape, &bytes[at..]) else {
                    at = bytes.len();
                    if self.fill(true)? {
                        continue;
                    }
                    return Err(self.unclosed_quote());
                };
                at += found;
                if bytes[at] == quote {
                    // A doubled quote closes here and opens again with the next byte.
                    in_quotes = false;
                } else if at + 1 == bytes.len() {
                    if !self.fill(true)? {
                        return Err(self.unclosed_quote());
                    }
                    continue;
                } else if bytes[at + 1] == quote || bytes[at + 1] == escape {
                    at += 1;
                }
                at += 1;
                continue;
            }
            at += bytes[at..]
                .iter()
                .position(|&byte| self.special[usize::from(byte)])
                .unwrap_or(bytes.len() - at);
            let Some(&byte) = bytes.get(at) else {
                if self.fill(false)? {
                    continue;
                }
                if at == 0 {
                    return Ok(None);
                }
                break (at, 0);
            };
            if byte == delimiter {
                self.spans.push(Span { start: field, end: at, quoted });
                at += 1;
                (field, quoted) = (at, false);
            } else if byte == quote {
                (quoted, in_quotes, any_quotes) = (true, true, true);
                at += 1;
            } else {
                if byte == b'\r' && at + 1 == bytes.len() && self.fill(false)? {
                    continue;
                }
                let next = self.buffer[self.start..self.filled].get(at + 1).copied();
                break (at, self.end_line(byte, next)?);
            }
        };
        self.spans.push(Span { start: field, end: length, quoted });
        let line = self.line;
        let bytes = &self.buffer[self.start..self.start + length];
        if any_quotes {
            let newline = if self.line_end == Some(LineEnd::Cr) { b'\r' } else { b'\n' };
            self.line += memchr_iter(newline, bytes).count() as u64;
        }
        self.line += 1;
        self.start += length + ending;
        self.offset += (length + ending) as u64;
        Ok(Some((Record { bytes, spans: &self.spans, dialect: self.dialect, line }, &self.name)))
    }

    /// How many bytes end the line at `byte`, which is a CR or LF outside quotes.
    fn end_line(&mut self, byte: u8, next: Option<u8>) -> Result<usize> {
        let this = match (byte, next, self.line_end) {
            (b'\n', _, _) => LineEnd::Lf,
            (_, Some(b'\n'), None | Some(LineEnd::CrLf)) => LineEnd::CrLf,
            _ => LineEnd::Cr,
        };
        let first = *self.line_end.get_or_insert(this);
        if this == first {
            return Ok(if this == LineEnd::CrLf { 2 } else { 1 });
        }
        let (found, before) = (
            if byte == b'\n' { "line feed" } else { "carriage return" },
            match first {
                LineEnd::Lf => "a line feed",
                LineEnd::CrLf => "carriage return and line feed",
                LineEnd::Cr => "a carriage return",
            },
        );
        Err(Error::input(format!(
            "{}, line {}: a {found} outside quotes, but the first line of the file ends with {before}",
            self.name, self.line
        ))
        .with_help("end all lines alike, or put the field that holds it in quotes"))
    }

    fn unclosed_quote(&self) -> Error {
        Error::input(format!(
            "{}, line {}: a quote is opened in this record and never closed",
            self.name, self.line
        ))
        .with_help("close it, and double every quote that belongs to a value")
    }

    /// Read more behind what is there; `false` at the end of the input.
    fn fill(&mut self, in_quotes: bool) -> Result<bool> {
        if self.at_end {
            return Ok(false);
        }
        if self.filled - self.start >= self.max_record_bytes {
            let limit = self.max_record_bytes;
            return Err(Error::input(format!(
                "{}, line {}: the record that begins here is longer than {limit} bytes{}",
                self.name,
                self.line,
                if in_quotes { "; a quote in it is still open" } else { "" },
            ))
            .with_help("look for a quote that is never closed, or for the wrong kind of file"));
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.filled, 0);
            self.filled -= self.start;
            self.start = 0;
        }
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.filled * 2, 0);
        }
        let first = self.offset == 0 && self.filled == 0;
        let mut read = 0;
        // The first bytes are read together, so that a byte order mark is seen whole.
        while !self.at_end && read < if first { BOM.len() } else { 1 } {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(count) => {
                    self.at_end = count == 0;
                    self.filled += count;
                    read += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::input(format!("failed to read {}: {error}", self.name))),
            }
        }
        if first && self.buffer[..self.filled].starts_with(BOM) {
            self.start = BOM.len();
            self.offset = BOM.len() as u64;
        }
        Ok(read > 0)
    }
}

impl<'a> Record<'a> {
    /// How many fields it has; at least 1.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether it is a line with nothing on it.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Field `index`, unquoted; `scratch` is where a value is put together that does not stand in one piece.
    ///
    /// # Panics
    /// When there is no such field.
    #[inline]
    pub fn field<'b>(&self, index: usize, scratch: &'b mut Vec<u8>) -> Field<'b>
    where
        'a: 'b,
    {
        let span = self.spans[index];
        let raw = &self.bytes[span.start..span.end];
        if !span.quoted {
            return if raw.is_empty() { Field::Null } else { Field::Value(raw) };
        }
        let Dialect { quote, escape, .. } = self.dialect;
        if let [first, inner @ .., last] = raw
            && (*first, *last) == (quote, quote)
            && memchr2(quote, escape, inner).is_none()
        {
            return Field::Value(inner);
        }
        scratch.clear();
        let mut rest = raw.iter().copied().peekable();
        let mut in_quotes = false;
        while let Some(byte) = rest.next() {
            match byte {
                _ if in_quotes
                    && byte == escape
                    && rest.peek().is_some_and(|&next| next == quote || next == escape) =>
                {
                    scratch.extend(rest.next());
                }
                _ if byte == quote => in_quotes = !in_quotes,
                _ => scratch.push(byte),
            }
        }
        Field::Value(scratch)
    }
}

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

    /// Gives one byte at a time, so that every record meets every boundary.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            buffer[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    type Rows = Vec<(u64, Vec<Option<String>>)>;

    fn read(input: impl Read, dialect: Dialect) -> Result<Rows> {
        let mut records = Records::new(input, "x.csv", dialect, MAX_RECORD_BYTES);
        let (mut rows, mut scratch) = (Vec::new(), Vec::new());
        while let Some(record) = records.next()? {
            let fields = (0..record.len()).map(|index| match record.field(index, &mut scratch) {
                Field::Null => None,
                Field::Value(value) => Some(String::from_utf8_lossy(value).into_owned()),
            });
            rows.push((record.line, fields.collect()));
        }
        Ok(rows)
    }

    /// Read `text` whole and byte by byte, which must agree.
    fn rows_of(text: &str, dialect: Dialect) -> Rows {
        let whole = read(text.as_bytes(), dialect).unwrap();
        assert_eq!(whole, read(Trickle(text.as_bytes()), dialect).unwrap(), "{text:?} byte by byte");
        whole
    }

    fn rows(text: &str) -> Rows {
        rows_of(text, Dialect::default())
    }

    fn row(line: u64, fields: &[Option<&str>]) -> (u64, Vec<Option<String>>) {
        (line, fields.iter().map(|field| field.map(str::to_owned)).collect())
    }

    #[test]
    fn empty_is_null_and_quoted_empty_is_a_string() {
        assert_eq!(rows("a,,\"\"\n"), [row(1, &[Some("a"), None, Some("")])]);
        assert_eq!(rows(",\n"), [row(1, &[None, None])]);
    }

    #[test]
    fn quotes_open_and_close_anywhere() {
        assert_eq!(rows("a\"b,\"\"c\",d\n"), [row(1, &[Some("ab,\"c"), Some("d")])]);
        assert_eq!(rows("\"say \"\"hi\"\"\",x"), [row(1, &[Some("say \"hi\""), Some("x")])]);
        assert_eq!(rows("\"\"\"\"\n"), [row(1, &[Some("\"")])]);
    }

    #[test]
    fn lines_are_counted_through_quoted_fields() {
        assert_eq!(
            rows("\"a\nb\n\",1\nc,\n"),
            [row(1, &[Some("a\nb\n"), Some("1")]), row(4, &[Some("c"), None])]
        );
    }

    #[test]
    fn every_line_end_is_read() {
        for text in
            ["a,b\nc,d\n", "a,b\r\nc,d\r\n", "a,b\rc,d\r", "a,b\nc,d", "a,b\r\nc,d", "\u{feff}a,b\nc,d"]
        {
            assert_eq!(
                rows(text),
                [row(1, &[Some("a"), Some("b")]), row(2, &[Some("c"), Some("d")])],
                "{text:?}"
            );
        }
    }

    #[test]
    fn mixed_line_ends_are_refused_as_copy_refuses_them() {
        for text in ["a\nb\rc\n", "a\r\nb\n", "a\rb\nc", "a\r\nb\rc\r\n", "a\nb\r\n"] {
            let error = read(text.as_bytes(), Dialect::default()).unwrap_err();
            assert!(error.to_string().starts_with("x.csv, line 2: a "), "{text:?}: {error}");
        }
    }

    #[test]
    fn blank_lines_are_records() {
        assert_eq!(rows("a\n\nb\n"), [row(1, &[Some("a")]), row(2, &[None]), row(3, &[Some("b")])]);
        assert_eq!(rows(""), []);
        assert_eq!(rows("\u{feff}"), []);
    }

    #[test]
    fn an_escape_of_its_own_is_read() {
        let dialect = Dialect { escape: b'\\', delimiter: b';', ..Dialect::default() };
        assert_eq!(rows_of(r#""a\"b\\c\d";e\"x;""#, dialect), [row(1, &[Some(r#"a"b\c\d"#), Some(r"e\x;")])]);
    }

    #[test]
    fn an_open_quote_names_the_line_it_began_on() {
        let error = read("a\nb,\"c\nd\n".as_bytes(), Dialect::default()).unwrap_err();
        assert_eq!(error.to_string(), "x.csv, line 2: a quote is opened in this record and never closed");
        let text = format!("a\n\"{}", "x\n".repeat(1000));
        let mut records = Records::new(Trickle(text.as_bytes()), "x.csv", Dialect::default(), 100);
        records.next().unwrap();
        let error = records.next().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("x.csv, line 2: the record that begins here is longer than 100 bytes")
        );
    }

    #[test]
    fn records_longer_than_a_block_are_whole() {
        let long = "y".repeat(3 * BLOCK);
        assert_eq!(rows(&format!("a,{long}\nb,c\n"))[0], row(1, &[Some("a"), Some(&long)]));
    }

    #[test]
    fn excerpts_are_short_and_printable() {
        assert_eq!(excerpt(b"a\x1b[31m\n"), r#""a\u{1b}[31m\n""#);
        assert_eq!(excerpt("é".repeat(100).as_bytes()), format!("\"{}…\" (200 bytes)", "é".repeat(60)));
    }
}
