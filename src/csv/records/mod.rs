//! Bytes → records, split exactly as `COPY … (FORMAT csv)` splits them.
//!
//! Quotes may open and close anywhere in a field, blank lines are records, and every line must end as the first one
//! does. On demand, lines are skipped (those before the first record, comments and blank ones), whatever quotes they
//! contain; a quote inside an unquoted field does not open it; and fields are put into the order of another file.

use std::io::{self, Read};

use encoding_rs::{Encoding, UTF_8};

use crate::csv::decode::Utf8Transcoder;
use crate::csv::dialect::{BlankLines, Dialect, StrayQuotes, trimmed};
use crate::csv::layout::Layout;
use crate::csv::limits::{LONGEST_BOM, MAX_RECORD_BYTES_CEILING, READ_BLOCK, UTF_8_MARK};
use crate::csv::reader::{Header, RecordReader};
use crate::csv::record::{FieldSpan, Notation, Quoting, Record, StrayFields};
use crate::csv::scan::{Scan, Specials, WIDTH};
use crate::error::Location;
use crate::{Error, Result};

mod cut;
mod errors;

/// The line ending of a file, determined by its first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Lf,
    CrLf,
    Cr,
}

/// The bit in the number of a field's quotes that tells that one of them opened neither the field nor, next to the
/// closing quote, a quoted part that was closed.
const STRAY: u32 = 1 << 31;

/// Reads records one by one from `R`, holding one record and one block in memory.
///
/// The buffer grows by doubling, up to the longest record allowed plus one block, and never shrinks. For encodings
/// other than UTF-8, the undecoded bytes of the buffer are kept as well.
#[derive(Debug)]
pub struct Records<R> {
    input: R,
    name: String,
    dialect: Dialect,
    transcoder: Option<Box<Utf8Transcoder>>,
    max_record_bytes: usize,
    /// Its last [`WIDTH`] bytes are never filled, so that [`Scan`] can read whole blocks.
    buffer: Vec<u8>,
    /// `buffer[start..filled]` has been read but not yet returned.
    start: usize,
    filled: usize,
    at_end: bool,
    /// Why reading failed after what is in the buffer; `None` if it has not.
    failure: Option<io::Error>,
    scan: Scan,
    specials: Specials,
    /// Whether a quote inside an unquoted field is a part of its value.
    keeps_stray_quotes: bool,
    /// Whether a record of several lines with stray quotes is an error.
    guards_quotes: bool,
    line_end: Option<LineEnd>,
    /// The line on which the next record begins, from 1.
    line: u64,
    /// The byte offset of the next record in the file.
    offset: u64,
    /// Comments skipped so far.
    comments: u64,
    /// Lines before the first record that are still to be skipped.
    lines_to_skip: u64,
    /// Whether any line may have to be skipped.
    may_skip: bool,
    /// The fields of the current record.
    spans: Vec<FieldSpan>,
    /// Those with stray quotes.
    strays: StrayFields,
    /// How to reorder the fields; `None` to leave them as they are.
    layout: Option<Layout>,
    current: CurrentRecord,
}

/// The record that was read last, except for its fields.
#[derive(Debug, Clone, Copy, Default)]
struct CurrentRecord {
    /// The range in the buffer of its text, without the line ending.
    text: (usize, usize),
    /// The range of its original bytes, as [`Records::advance`] returns it.
    original: (usize, usize),
    line: u64,
    offset: u64,
    misfit: Option<usize>,
    is_short: bool,
}

/// The extent of a record that begins at `Records::start`, in bytes of the buffer.
#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    /// The length without the line ending.
    length: usize,
    /// The length of the line ending: 1 or 2, or 0 at the end of the file.
    ending: usize,
    /// Line feeds inside quotes.
    line_feeds: usize,
    /// Carriage returns inside quotes.
    carriage_returns: usize,
}

impl<R: Read> Records<R> {
    /// Read `input`, which errors call `name`.
    ///
    /// `max_record_bytes` is capped at [`MAX_RECORD_BYTES_CEILING`](crate::csv::MAX_RECORD_BYTES_CEILING).
    pub fn new(input: R, name: &str, dialect: Dialect, max_record_bytes: usize) -> Self {
        let Dialect { delimiter, quote, escape, .. } = dialect;
        // A byte that is the delimiter never gets to be a quote.
        let (quote, escape) = quote.map_or((delimiter, delimiter), |quote| (quote, escape));
        let transcoder = (dialect.encoding != UTF_8).then(|| Box::new(Utf8Transcoder::new(dialect.encoding)));
        Records {
            input,
            name: name.to_owned(),
            transcoder,
            max_record_bytes: max_record_bytes.min(MAX_RECORD_BYTES_CEILING),
            buffer: vec![0; READ_BLOCK + WIDTH],
            start: 0,
            filled: 0,
            at_end: false,
            failure: None,
            scan: Scan::default(),
            specials: Specials { delimiter, quote, escape },
            keeps_stray_quotes: dialect.stray_quotes != StrayQuotes::Postgres,
            guards_quotes: false,
            line_end: None,
            line: 1,
            offset: 0,
            comments: 0,
            lines_to_skip: dialect.skip_lines,
            may_skip: dialect.skip_lines > 0
                || dialect.comment.is_some()
                || dialect.blank_lines == Some(BlankLines::Skip),
            spans: Vec::new(),
            strays: StrayFields::default(),
            layout: None,
            current: CurrentRecord::default(),
            dialect,
        }
    }

    /// The same reader, which refuses records of several lines with stray quotes if it `guards` against them.
    pub(super) fn guarding_quotes(self, guards: bool) -> Self {
        Records { guards_quotes: guards, ..self }
    }

    /// The name of the input, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The encoding of the input. A byte order mark may change it when the first record is read.
    pub fn encoding(&self) -> &'static Encoding {
        self.transcoder.as_ref().map_or(self.dialect.encoding, |transcoder| transcoder.encoding())
    }

    /// Bytes of the input returned as records or skipped as comments, after decompression and before decoding.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Comments skipped so far.
    pub fn comments(&self) -> u64 {
        self.comments
    }

    /// The next record as a header; `None` when there is no record.
    ///
    /// # Errors
    /// As [`Records::next`], and when a name is not valid in the encoding.
    pub fn header(&mut self) -> Result<Option<Header>> {
        let Some((record, file)) = self.next_named()? else { return Ok(None) };
        let mut scratch = Vec::new();
        let mut names = Vec::with_capacity(record.len());
        for index in 0..record.len() {
            let name = std::str::from_utf8(record.value(index, &mut scratch)).map_err(|_| {
                let location = format!("{file}, line {}, column {}", record.line, index + 1);
                let encoding = record.encoding().name();
                Error::input(format!("{location}: the header is not valid {encoding}"))
                    .with_help("set the encoding of the file with --encoding, such as windows-1252")
                    .at(Location::on_line(file, record.line).in_column(index + 1))
            })?;
            names.push(name.to_owned());
        }
        Ok(Some(Header { names, line: record.line, raw: record.raw().to_vec() }))
    }

    /// The next record; `None` at the end of the input.
    ///
    /// # Errors
    /// When reading fails, a quote is not closed, a record is too long, line endings are mixed, or a byte order mark
    /// contradicts the encoding. All records before the error have been returned by then.
    // Not an Iterator: a record borrows the buffer that the next one overwrites.
    #[expect(clippy::should_implement_trait, reason = "a lending iterator has no trait yet")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        Ok(self.next_named()?.map(|(record, _)| record))
    }

    /// The next record, and the name of the input; `None` at its end.
    ///
    /// # Errors
    /// As [`Records::next`].
    pub fn next_named(&mut self) -> Result<Option<(Record<'_>, &str)>> {
        Ok(if self.read_record()? { Some((self.current(), &self.name)) } else { None })
    }

    /// Read the next record, which is then the current one; `false` at the end of the input.
    fn read_record(&mut self) -> Result<bool> {
        if !self.has_next()? {
            return Ok(false);
        }
        let extent = self.split()?;
        if self.strays.count > 0 && self.guards_quotes && extent.line_feeds + extent.carriage_returns > 0 {
            return Err(self.hidden_lines(extent));
        }
        let fitted = self.layout.as_ref().map_or(Ok(false), |layout| layout.apply(&mut self.spans));
        let (is_short, misfit) = (fitted == Ok(true), fitted.err());
        let (start, line, offset) = (self.start, self.line, self.offset);
        let original = self.advance(extent);
        let text = (start, start + extent.length);
        self.current = CurrentRecord { text, original, line, offset, misfit, is_short };
        Ok(true)
    }

    /// The record that was read last.
    #[expect(clippy::inline_always, reason = "each call that is left copies the record")]
    #[inline(always)]
    fn current(&self) -> Record<'_> {
        let CurrentRecord { text: (start, end), original, line, offset, misfit, is_short } = self.current;
        Record {
            text: &self.buffer[start..],
            raw: match &self.transcoder {
                None => &self.buffer[start..self.start],
                Some(transcoder) => transcoder.original(original),
            },
            spans: &self.spans,
            strays: self.strays,
            positions: self.layout.as_ref().filter(|_| misfit.is_none()).map(Layout::positions),
            misfit,
            is_short,
            is_blank: start == end,
            dialect: &self.dialect,
            defect: None,
            line,
            last_line: self.line - 1,
            offset,
        }
    }

    /// Whether there is another record. Skips what is not one.
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
            if !self.may_skip || !self.skip_line()? {
                return Ok(true);
            }
        }
    }

    /// Skip the line at `start`, if it is not a record; return whether it was skipped.
    fn skip_line(&mut self) -> Result<bool> {
        let first = self.buffer[self.start];
        let is_comment = self.dialect.comment == Some(first);
        let is_blank = self.dialect.blank_lines == Some(BlankLines::Skip) && matches!(first, b'\n' | b'\r');
        if self.lines_to_skip == 0 && !is_comment && !is_blank {
            return Ok(false);
        }
        let extent = self.find_line_end()?;
        if extent.length > self.max_record_bytes {
            return Err(self.too_long(false));
        }
        self.advance(extent);
        if self.lines_to_skip > 0 {
            self.lines_to_skip -= 1;
            // Something else may have written these lines.
            self.line_end = None;
            if self.lines_to_skip == 0 {
                self.skip_mark_of_joined_file()?;
            }
        } else if is_comment {
            self.comments += 1;
        }
        Ok(true)
    }

    /// Pass over a byte order mark at `start`, which the file had before something was written in front of it.
    fn skip_mark_of_joined_file(&mut self) -> Result<()> {
        loop {
            let rest = &self.buffer[self.start..self.filled];
            if rest.starts_with(UTF_8_MARK) {
                self.start += UTF_8_MARK.len();
                // Of a transcoded file, it is counted with its line.
                self.offset += if self.transcoder.is_none() { UTF_8_MARK.len() as u64 } else { 0 };
                return Ok(());
            }
            if !UTF_8_MARK.starts_with(rest) {
                return Ok(());
            }
            // None of its bytes is special, so that nothing found gets lost.
            self.scan.next(&self.buffer, self.filled, self.specials);
            if !self.fill(false)? {
                return Ok(());
            }
        }
    }

    /// Find the extent and the fields of the record at `start`.
    fn split(&mut self) -> Result<Extent> {
        self.spans.clear();
        self.strays = StrayFields::default();
        let Specials { delimiter, quote, escape } = self.specials;
        let mut extent = Extent::default();
        // Positions are relative to self.start, so that they stay valid when `fill` moves the bytes.
        let (mut field, mut in_quotes) = (0, false);
        // Quotes in the field so far. An escape counts as three, so that the field cannot pass as merely enclosed.
        let mut quotes = 0_u32;
        // The end of the last quoted part: only a quote there, or at the start of the field, may open the next one.
        let mut closed = 0;
        loop {
            let Some(at) = self.scan.next(&self.buffer, self.filled, self.specials) else {
                if self.fill(in_quotes)? {
                    continue;
                }
                if in_quotes {
                    return Err(self.unclosed_quote(quotes & STRAY != 0));
                }
                extent.length = self.filled - self.start;
                break;
            };
            let byte = self.buffer[at];
            let at = at - self.start;
            if in_quotes {
                if byte == quote {
                    // A doubled quote closes the field here and reopens it with the next byte.
                    in_quotes = false;
                    quotes += 1;
                    closed = at + 1;
                } else if byte == escape {
                    quotes += if self.pass_escaped(at, quotes & STRAY != 0)? { 3 } else { 0 };
                } else if byte == b'\n' {
                    extent.line_feeds += 1;
                } else if byte == b'\r' {
                    extent.carriage_returns += 1;
                }
            } else if byte == delimiter {
                self.push(field, at, quotes, closed);
                (field, quotes) = (at + 1, 0);
            } else if byte == quote {
                if at != field && at != closed && !(self.dialect.trim && self.trimmed(field, at).1 == field) {
                    quotes |= STRAY;
                    if self.keeps_stray_quotes {
                        continue;
                    }
                }
                in_quotes = true;
                quotes += 1;
            } else if byte == b'\n' || byte == b'\r' {
                (extent.length, extent.ending) = (at, self.end_line(byte, at)?);
                break;
            }
        }
        self.push(field, extent.length, quotes, closed);
        if extent.length > self.max_record_bytes {
            return Err(self.too_long(false));
        }
        Ok(extent)
    }

    /// Pass over the byte after the escape at `at`, relative to `start`, if it is escaped; return whether it is.
    #[inline]
    fn pass_escaped(&mut self, at: usize, is_stray: bool) -> Result<bool> {
        if self.start + at + 1 == self.filled && !self.fill(true)? {
            return Err(self.unclosed_quote(is_stray));
        }
        let next = self.buffer[self.start + at + 1];
        let is_escaped = next == self.specials.quote || next == self.specials.escape;
        if is_escaped {
            // It is special too, so the scan returns it next.
            self.scan.next(&self.buffer, self.filled, self.specials);
        }
        Ok(is_escaped)
    }

    /// Record a field that contains `quotes` quotes, the last of which ends at `closed`.
    #[inline]
    fn push(&mut self, start: usize, end: usize, quotes: u32, closed: usize) {
        let (start, end) = if self.dialect.trim { self.trimmed(start, end) } else { (start, end) };
        let quoting = match quotes {
            0 => Quoting::Plain,
            // Without a stray quote, the first one is the first byte.
            2 if closed == end => Quoting::Enclosed,
            _ if quotes & STRAY == 0 && closed == end => Quoting::Mixed,
            _ => {
                self.strays.add(self.spans.len());
                // What is kept is the field as it is written.
                if self.keeps_stray_quotes { Quoting::Plain } else { Quoting::Mixed }
            }
        };
        let notation = Notation::Text;
        self.spans.push(FieldSpan { start: start as u32, end: end as u32, quoting, notation });
    }

    /// The field from `start` to `end` without the blanks around it; an empty one at `start` if there is nothing else.
    // Not inlined into the loop that splits files without --trim.
    #[cold]
    fn trimmed(&self, start: usize, end: usize) -> (usize, usize) {
        let whole = &self.buffer[self.start + start..self.start + end];
        let field = trimmed(whole);
        let blanks = whole.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if field.is_empty() { (start, start) } else { (start + blanks, start + blanks + field.len()) }
    }

    /// The extent of the line at `start`, ignoring quotes.
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

    /// The length of the line ending at `at`, where `byte` is a CR or LF outside quotes.
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
            // Skip the line feed.
            self.scan.next(&self.buffer, self.filled, self.specials);
            return Ok(2);
        }
        Ok(1)
    }

    /// Advance past `extent`. Return the range of its original bytes, which is empty if the input is not transcoded.
    #[inline]
    fn advance(&mut self, extent: Extent) -> (usize, usize) {
        let Extent { length, ending, line_feeds, carriage_returns } = extent;
        let line_ends = if self.line_end == Some(LineEnd::Cr) { carriage_returns } else { line_feeds };
        self.line += line_ends as u64 + 1;
        self.start += length + ending;
        let Some(transcoder) = &mut self.transcoder else {
            self.offset += (length + ending) as u64;
            return (0, 0);
        };
        let whole = ending > 0;
        let original = transcoder.advance(whole.then_some(line_feeds + carriage_returns + ending));
        self.offset += (original.1 - original.0) as u64;
        original
    }

    /// Read more into the buffer; `false` at the end of the input.
    #[cold]
    fn fill(&mut self, in_quotes: bool) -> Result<bool> {
        if !self.at_end {
            // A record of the greatest length may be followed by a carriage return whose line feed is not read yet.
            if self.filled - self.start > self.max_record_bytes + 1 {
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

    /// Read once into the unfilled part of the buffer. Return the number of bytes read, 0 at the end of the input.
    fn read(&mut self) -> Result<usize> {
        let first = self.offset == 0 && self.filled == 0;
        let mut read = 0;
        let room = self.buffer.len() - WIDTH;
        // The first read continues until it is long enough to contain a whole byte order mark.
        while !self.at_end && read < if first { LONGEST_BOM } else { 1 } {
            if let Some(error) = self.failure.take() {
                return Err(self.read_failed(&error));
            }
            let space = &mut self.buffer[self.filled..room];
            let count = match &mut self.transcoder {
                None => self.input.read(space),
                Some(transcoder) => transcoder.read(&mut self.input, space),
            };
            match count {
                Ok(count) => {
                    self.at_end = count == 0;
                    self.filled += count;
                    read += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.read_failed(&error)),
            }
        }
        match &self.transcoder {
            None if first => self.skip_byte_order_mark()?,
            Some(transcoder) if first => self.offset = transcoder.bom_bytes(),
            _ => {}
        }
        Ok(read)
    }

    /// Grow the buffer unless it has room for the next read.
    fn grow(&mut self) {
        let room = self.buffer.len() - WIDTH;
        if room - self.filled >= Utf8Transcoder::MIN_ROOM {
            return;
        }
        let longer = (room * 2).min(self.max_record_bytes + READ_BLOCK);
        // `resize` alone would round up to twice the capacity.
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
}

impl<R: Read + Send> RecordReader for Records<R> {
    fn name(&self) -> &str {
        &self.name
    }

    fn encoding(&self) -> &'static Encoding {
        self.encoding()
    }

    fn header(&mut self) -> Result<Option<Header>> {
        self.header()
    }

    #[inline]
    fn has_next(&mut self) -> Result<bool> {
        self.has_next()
    }

    #[inline]
    fn read(&mut self) -> Result<bool> {
        self.read_record()
    }

    #[expect(clippy::inline_always, reason = "each call that is left copies the record")]
    #[inline(always)]
    fn record(&self) -> Record<'_> {
        self.current()
    }

    fn set_layout(&mut self, layout: Layout) {
        self.layout = Some(layout);
    }

    fn keep_json(&mut self, _: &[usize]) {}
}

#[cfg(test)]
mod tests;
