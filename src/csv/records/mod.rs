//! Bytes → records: the splitting, byte for byte as `COPY … (FORMAT csv)` does it.
//!
//! Quotes may open and close anywhere in a field, blank lines are records, and all lines end as the first one
//! does. What `COPY` does not have is comments: a record that begins with the comment byte ends with its
//! line, whatever quotes are in it.

use crate::csv::limits::MOST_RECORD_BYTES;
use std::io::{self, Read};

use encoding_rs::{Encoding, UTF_8};

use crate::csv::decode::Decoding;
use crate::csv::dialect::Dialect;
use crate::csv::limits::{BLOCK, LONGEST_MARK};
use crate::csv::record::{Record, Shape, Span};
use crate::csv::scan::{Scan, Specials, WIDTH};
use crate::{Error, Result};

/// How the lines of a file end; its first line decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Lf,
    CrLf,
    Cr,
}

/// Reads records one by one from `R`, holding one record and one block in memory.
///
/// The buffer grows by doubling, never beyond the longest record allowed and one block, and keeps its size;
/// with an encoding other than UTF-8 the original bytes of what is in it are kept as well.
#[derive(Debug)]
pub struct Records<R> {
    input: R,
    name: String,
    dialect: Dialect,
    decoding: Option<Box<Decoding>>,
    max_record_bytes: usize,
    /// The last [`WIDTH`] bytes of it are never filled, so that [`Scan`] can look at whole blocks.
    buffer: Vec<u8>,
    /// `buffer[start..filled]` is read and not yet returned.
    start: usize,
    filled: usize,
    at_end: bool,
    scan: Scan,
    specials: Specials,
    line_end: Option<LineEnd>,
    /// The line that the next record begins on, from 1.
    line: u64,
    /// Bytes of the file before the next record.
    offset: u64,
    comments: u64,
    spans: Vec<Span>,
}

/// The first record of a file, which names its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// As they are written, without their quotes; empty where there is none.
    pub names: Vec<String>,
    /// The line it begins on.
    pub line: u64,
    /// Its bytes, with its line end.
    pub raw: Vec<u8>,
}

/// How far a record goes, from `Records::start`.
#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    /// Without the line end.
    length: usize,
    /// The line end: 1 or 2 bytes, or none at the end of the file.
    ending: usize,
    /// Inside quotes.
    line_feeds: usize,
    carriage_returns: usize,
}

impl<R: Read> Records<R> {
    /// Read `input`, which errors call `name`.
    ///
    /// A `max_record_bytes` above [`MOST_RECORD_BYTES`] means that.
    pub fn new(input: R, name: &str, dialect: Dialect, max_record_bytes: usize) -> Self {
        let Dialect { delimiter, quote, escape, .. } = dialect;
        let decoding = (dialect.encoding != UTF_8).then(|| Box::new(Decoding::new(dialect.encoding)));
        Records {
            input,
            name: name.to_owned(),
            decoding,
            max_record_bytes: max_record_bytes.min(MOST_RECORD_BYTES),
            buffer: vec![0; BLOCK + WIDTH],
            start: 0,
            filled: 0,
            at_end: false,
            scan: Scan::default(),
            specials: Specials { delimiter, quote, escape },
            line_end: None,
            line: 1,
            offset: 0,
            comments: 0,
            spans: Vec::new(),
            dialect,
        }
    }

    /// What errors call the input.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is written in, as far as is known.
    pub fn encoding(&self) -> &'static Encoding {
        self.decoding.as_ref().map_or(self.dialect.encoding, |decoding| decoding.encoding())
    }

    /// Bytes of the input that have been returned as records or passed over as comments.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many comments have been passed over.
    pub fn comments(&self) -> u64 {
        self.comments
    }

    /// The first record, as the names of the columns; `None` when there is no record.
    ///
    /// # Errors
    /// As [`Records::next`], and when a name is not in the encoding.
    pub fn header(&mut self) -> Result<Option<Header>> {
        let Some((record, file)) = self.next_named()? else { return Ok(None) };
        let mut scratch = Vec::new();
        let mut names = Vec::with_capacity(record.len());
        for index in 0..record.len() {
            let name = std::str::from_utf8(record.value(index, &mut scratch)).map_err(|_| {
                let place = format!("{file}, line {}, column {}", record.line, index + 1);
                let encoding = record.encoding().name();
                Error::input(format!("{place}: the header is not {encoding}"))
                    .with_help("say what it is with --encoding, such as windows-1252")
            })?;
            names.push(name.to_owned());
        }
        Ok(Some(Header { names, line: record.line, raw: record.raw().to_vec() }))
    }

    /// The next record; `None` at the end of the input.
    ///
    /// # Errors
    /// When reading fails, a quote is never closed, a record is too long, lines end in different ways, or
    /// bytes are not of the encoding. The records before such a place have been returned by then.
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
        if !self.has_next()? {
            return Ok(None);
        }
        let extent = self.split()?;
        let (start, line, offset) = (self.start, self.line, self.offset);
        let original = self.advance(extent);
        let record = Record {
            text: &self.buffer[start..start + extent.length],
            raw: match &self.decoding {
                None => &self.buffer[start..self.start],
                Some(decoding) => decoding.original(original),
            },
            spans: &self.spans,
            dialect: &self.dialect,
            line,
            last_line: self.line - 1,
            offset,
        };
        Ok(Some((record, &self.name)))
    }

    /// Whether there is another record; passes over comments.
    ///
    /// # Errors
    /// As [`Records::next`].
    #[inline]
    pub fn has_next(&mut self) -> Result<bool> {
        loop {
            while self.start == self.filled {
                if !self.fill(false)? {
                    return Ok(false);
                }
            }
            if self.dialect.comment != Some(self.buffer[self.start]) {
                return Ok(true);
            }
            let extent = self.find_line_end()?;
            self.advance(extent);
            self.comments += 1;
        }
    }

    /// Find the fields of the record at `start`.
    fn split(&mut self) -> Result<Extent> {
        self.spans.clear();
        let Dialect { delimiter, quote, escape, .. } = self.dialect;
        let mut extent = Extent::default();
        // Positions count from self.start, so that they hold when `fill` moves the bytes.
        let (mut field, mut in_quotes) = (0, false);
        // Quotes in the field, and enough to be more than two for an escape.
        let mut marks = 0_u32;
        loop {
            let Some(at) = self.scan.next(&self.buffer, self.filled, self.specials) else {
                if self.fill(in_quotes)? {
                    continue;
                }
                if in_quotes {
                    return Err(self.unclosed_quote());
                }
                extent.length = self.filled - self.start;
                break;
            };
            let byte = self.buffer[at];
            let at = at - self.start;
            if in_quotes {
                if byte == quote {
                    // A doubled quote closes here and opens again with the next byte.
                    in_quotes = false;
                    marks += 1;
                } else if byte == escape {
                    if self.start + at + 1 == self.filled && !self.fill(true)? {
                        return Err(self.unclosed_quote());
                    }
                    let next = self.buffer[self.start + at + 1];
                    if next == quote || next == escape {
                        // It is special too, hence the one that the scan gives next.
                        self.scan.next(&self.buffer, self.filled, self.specials);
                        marks += 3;
                    }
                } else if byte == b'\n' {
                    extent.line_feeds += 1;
                } else if byte == b'\r' {
                    extent.carriage_returns += 1;
                }
            } else if byte == delimiter {
                self.push(field, at, marks);
                (field, marks) = (at + 1, 0);
            } else if byte == quote {
                in_quotes = true;
                marks += 1;
            } else if byte == b'\n' || byte == b'\r' {
                (extent.length, extent.ending) = (at, self.end_line(byte, at)?);
                break;
            }
        }
        self.push(field, extent.length, marks);
        if extent.length > self.max_record_bytes {
            return Err(self.too_long(false));
        }
        Ok(extent)
    }

    #[inline]
    fn push(&mut self, start: usize, end: usize, marks: u32) {
        let quote = self.dialect.quote;
        let shape = match &self.buffer[self.start + start..self.start + end] {
            _ if marks == 0 => Shape::Plain,
            [first, .., last] if marks == 2 && (*first, *last) == (quote, quote) => Shape::Enclosed,
            _ => Shape::Mixed,
        };
        self.spans.push(Span { start: start as u32, end: end as u32, shape });
    }

    /// The line at `start`, whatever it holds.
    fn find_line_end(&mut self) -> Result<Extent> {
        loop {
            match self.scan.next(&self.buffer, self.filled, self.specials) {
                Some(at) if matches!(self.buffer[at], b'\n' | b'\r') => {
                    let (byte, length) = (self.buffer[at], at - self.start);
                    return Ok(Extent { length, ending: self.end_line(byte, length)?, ..Extent::default() });
                }
                Some(_) => {}
                None if self.fill(false)? => {}
                None => return Ok(Extent { length: self.filled - self.start, ..Extent::default() }),
            }
        }
    }

    /// How many bytes end the line at `at`, where `byte` is a CR or LF outside quotes.
    #[inline]
    fn end_line(&mut self, byte: u8, at: usize) -> Result<usize> {
        let this = if byte == b'\n' {
            LineEnd::Lf
        } else {
            let missing = self.start + at + 1 == self.filled && !self.fill(false)?;
            let line_feed = !missing && self.buffer[self.start + at + 1] == b'\n';
            match self.line_end {
                None | Some(LineEnd::CrLf) if line_feed => LineEnd::CrLf,
                _ => LineEnd::Cr,
            }
        };
        let first = *self.line_end.get_or_insert(this);
        if this != first {
            return Err(self.mixed_line_ends(byte, first));
        }
        if this == LineEnd::CrLf {
            // The line feed.
            self.scan.next(&self.buffer, self.filled, self.specials);
            return Ok(2);
        }
        Ok(1)
    }

    /// Go behind what `extent` covers; returns where its original bytes are, if it was decoded.
    #[inline]
    fn advance(&mut self, extent: Extent) -> (usize, usize) {
        let Extent { length, ending, line_feeds, carriage_returns } = extent;
        let line_ends = if self.line_end == Some(LineEnd::Cr) { carriage_returns } else { line_feeds };
        self.line += line_ends as u64 + 1;
        self.start += length + ending;
        let Some(decoding) = &mut self.decoding else {
            self.offset += (length + ending) as u64;
            return (0, 0);
        };
        let whole = ending > 0;
        let original = decoding.advance(whole.then_some(line_feeds + carriage_returns + ending));
        self.offset += (original.1 - original.0) as u64;
        original
    }

    /// Read more behind what is there; `false` at the end of the input.
    #[cold]
    fn fill(&mut self, in_quotes: bool) -> Result<bool> {
        if !self.at_end {
            if self.filled - self.start > self.max_record_bytes {
                return Err(self.too_long(in_quotes));
            }
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.filled, 0);
                self.scan.shift(self.start);
                self.filled -= self.start;
                self.start = 0;
            }
            self.grow();
            if self.read()? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Read once behind what is there.
    fn read(&mut self) -> Result<usize> {
        let first = self.offset == 0 && self.filled == 0;
        let mut read = 0;
        let room = self.buffer.len() - WIDTH;
        // The first bytes are read together, so that a byte order mark is seen whole.
        while !self.at_end && read < if first { LONGEST_MARK } else { 1 } {
            let space = &mut self.buffer[self.filled..room];
            let count = match &mut self.decoding {
                None => self.input.read(space),
                Some(decoding) => decoding.read(&mut self.input, space),
            };
            match count {
                Ok(count) => {
                    self.at_end = count == 0;
                    self.filled += count;
                    read += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::input(format!("failed to read {}: {error}", self.name))),
            }
        }
        match &self.decoding {
            None if first => self.skip_byte_order_mark()?,
            Some(decoding) if first => self.offset = decoding.mark_bytes(),
            _ => {}
        }
        Ok(read)
    }

    /// Make room for more, unless there is some.
    fn grow(&mut self) {
        let room = self.buffer.len() - WIDTH;
        if room - self.filled >= Decoding::LEAST_ROOM {
            return;
        }
        let longer = (room * 2).min(self.max_record_bytes + BLOCK);
        // Not by `resize` alone, which would round up to twice the capacity.
        self.buffer.reserve_exact(longer - room);
        self.buffer.resize(longer + WIDTH, 0);
    }

    fn skip_byte_order_mark(&mut self) -> Result<()> {
        match Encoding::for_bom(&self.buffer[..self.filled]) {
            Some((found, length)) if found == UTF_8 => {
                (self.start, self.offset) = (length, length as u64);
                self.scan = Scan::starting_at(length);
                Ok(())
            }
            Some((found, _)) => {
                let name = found.name();
                Err(Error::input(format!("{} begins with the byte order mark of {name}", self.name))
                    .with_help(format!("read it with --encoding {}", name.to_ascii_lowercase())))
            }
            None => Ok(()),
        }
    }

    fn place(&self) -> String {
        format!("{}, line {}", self.name, self.line)
    }

    #[cold]
    fn mixed_line_ends(&self, byte: u8, first: LineEnd) -> Error {
        let found = if byte == b'\n' { "line feed" } else { "carriage return" };
        let before = match first {
            LineEnd::Lf => "a line feed",
            LineEnd::CrLf => "carriage return and line feed",
            LineEnd::Cr => "a carriage return",
        };
        Error::input(format!(
            "{}: a {found} outside quotes, but the first line of the file ends with {before}",
            self.place()
        ))
        .with_help("end all lines alike, or put the field that holds it in quotes")
    }

    #[cold]
    fn unclosed_quote(&self) -> Error {
        let message = format!("{}: a quote is opened in this record and never closed", self.place());
        Error::input(message).with_help("close it, and double every quote that belongs to a value")
    }

    #[cold]
    fn too_long(&self, in_quotes: bool) -> Error {
        let limit = self.max_record_bytes;
        let open = if in_quotes { "; a quote in it is still open" } else { "" };
        Error::input(format!(
            "{}: the record that begins here is longer than {limit} bytes{open}",
            self.place()
        ))
        .with_help(
            "look for a quote that is never closed, or for the wrong kind of file; \
                 --max-record-bytes allows more",
        )
    }
}

#[cfg(test)]
mod tests;
