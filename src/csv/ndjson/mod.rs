//! NDJSON → records: one JSON object on each line, whose keys are the names of the fields.
//!
//! Values are kept as they are spelled: a number by its digits, an object or array by its text. A string is its
//! characters, `null` is NULL, and so is a key that is not there. A line that is no such object is a record with a
//! defect, because the next line can be read nevertheless. Blank lines are no records, unless that is wanted.
//!
//! This file divides the input into lines; [`object`] parses one.

mod object;

use std::io::{self, Read};

use encoding_rs::{Encoding, UTF_8};
use memchr::memchr;

use crate::csv::dialect::{BlankLines, Dialect};
use crate::csv::layout::Layout;
use crate::csv::limits::{MAX_RECORD_BYTES_CEILING, READ_BLOCK, UTF_8_MARK};
use crate::csv::ndjson::object::ObjectParser;
use crate::csv::reader::{Header, RecordReader};
use crate::csv::record::{Defect, Record, StrayFields};
use crate::error::Location;
use crate::{Error, Result};

pub(crate) use crate::csv::ndjson::object::Keys;

/// Reads records one by one from `R`, holding one line and one block in memory.
#[derive(Debug)]
pub(crate) struct JsonRecords<R> {
    input: R,
    name: String,
    dialect: Dialect,
    max_record_bytes: usize,
    buffer: Vec<u8>,
    /// `buffer[start..filled]` has been read but not yet returned.
    start: usize,
    filled: usize,
    /// `buffer[start..searched]` has no line end.
    searched: usize,
    at_end: bool,
    /// The line on which the next record begins, from 1.
    line: u64,
    /// The byte offset of the next record in the file.
    offset: u64,
    /// Lines before the first record that are still to be skipped.
    lines_to_skip: u64,
    object: ObjectParser,
    /// What is wrong with the line that was read last.
    defect: Option<Defect>,
    /// Its length, with its ending.
    length: usize,
    /// Whether there is nothing on it.
    is_blank: bool,
}

impl<R: Read> JsonRecords<R> {
    /// Read `input`, which errors call `name`; of `dialect`, only what it says of lines matters.
    pub(crate) fn new(input: R, name: &str, keys: Keys, dialect: &Dialect, max_record_bytes: usize) -> Self {
        JsonRecords {
            input,
            name: name.to_owned(),
            dialect: Dialect { blank_lines: dialect.blank_lines, ..Dialect::default() },
            lines_to_skip: dialect.skip_lines,
            max_record_bytes: max_record_bytes.min(MAX_RECORD_BYTES_CEILING),
            buffer: vec![0; READ_BLOCK],
            start: 0,
            filled: 0,
            searched: 0,
            at_end: false,
            line: 1,
            offset: 0,
            object: ObjectParser::new(keys),
            defect: None,
            length: 0,
            is_blank: false,
        }
    }

    /// The keys found so far.
    pub(crate) fn keys(&self) -> &[String] {
        &self.object.keys.names
    }

    /// Skip what is no record; whether there is another one.
    fn find_record(&mut self) -> Result<bool> {
        while self.lines_to_skip > 0 {
            if self.start == self.filled && !self.fill()? {
                return Ok(false);
            }
            let length = self.find_line_end()?;
            self.pass(length);
            self.lines_to_skip -= 1;
            if self.lines_to_skip == 0 {
                self.skip_mark_of_joined_file()?;
            }
        }
        if matches!(self.dialect.blank_lines, Some(BlankLines::Row | BlankLines::Error)) {
            return Ok(self.start < self.filled || self.fill()?);
        }
        loop {
            while let Some(byte) = self.buffer[self.start..self.filled].first() {
                match byte {
                    b'\n' => self.line += 1,
                    b' ' | b'\t' | b'\r' => {}
                    _ => return Ok(true),
                }
                self.start += 1;
                self.offset += 1;
            }
            if !self.fill()? {
                return Ok(false);
            }
        }
    }

    /// Pass over a byte order mark, which the file had before something was written in front of it.
    fn skip_mark_of_joined_file(&mut self) -> Result<()> {
        while self.filled - self.start < UTF_8_MARK.len() && self.fill()? {}
        if self.buffer[self.start..self.filled].starts_with(UTF_8_MARK) {
            self.start += UTF_8_MARK.len();
            self.offset += UTF_8_MARK.len() as u64;
        }
        Ok(())
    }

    /// Pass over a line of `length` bytes.
    fn pass(&mut self, length: usize) {
        self.start += length;
        self.offset += length as u64;
        self.line += 1;
    }

    /// The length of the line at `start`, with its ending.
    fn find_line_end(&mut self) -> Result<usize> {
        self.searched = self.start;
        loop {
            if let Some(at) = memchr(b'\n', &self.buffer[self.searched..self.filled]) {
                let length = self.searched + at + 1 - self.start;
                return if length > self.max_record_bytes + 1 { Err(self.too_long()) } else { Ok(length) };
            }
            self.searched = self.filled;
            if self.filled - self.start > self.max_record_bytes {
                return Err(self.too_long());
            }
            if !self.fill()? {
                return Ok(self.filled - self.start);
            }
        }
    }

    /// Read more into the buffer; `false` at the end of the input.
    fn fill(&mut self) -> Result<bool> {
        if self.at_end {
            return Ok(false);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.filled, 0);
            self.searched = self.searched.saturating_sub(self.start);
            self.filled -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.filled < READ_BLOCK / 2 {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let is_first = self.offset == 0 && self.filled == 0;
        loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(0) => {
                    self.at_end = true;
                    break;
                }
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::input(format!("failed to read {}: {error}", self.name))),
            }
            // The first read continues until it is long enough to contain a whole byte order mark.
            if !is_first || self.filled >= 3 {
                break;
            }
        }
        if is_first {
            self.skip_byte_order_mark()?;
        }
        Ok(self.filled > self.start)
    }

    fn skip_byte_order_mark(&mut self) -> Result<()> {
        match Encoding::for_bom(&self.buffer[..self.filled]) {
            Some((found, length)) if found == UTF_8 => {
                (self.start, self.offset) = (length, length as u64);
                Ok(())
            }
            Some((found, _)) => {
                let message = format!("{} begins with the byte order mark of {}", self.name, found.name());
                Err(Error::input(message)
                    .with_help("JSON is read in UTF-8: convert it first, for example with iconv"))
            }
            None => Ok(()),
        }
    }

    #[cold]
    fn too_long(&self) -> Error {
        let (name, line, limit) = (&self.name, self.line, self.max_record_bytes);
        Error::input(format!("{name}, line {line}: the line is longer than {limit} bytes"))
            .with_help(
                "check that there is one object on each line, as jq -c writes them; --max-record-bytes raises the limit",
            )
            .at(Location::on_line(name, line))
    }
}

impl<R: Read + Send> RecordReader for JsonRecords<R> {
    fn name(&self) -> &str {
        &self.name
    }

    fn encoding(&self) -> &'static Encoding {
        UTF_8
    }

    fn header(&mut self) -> Result<Option<Header>> {
        if !self.find_record()? {
            return Ok(None);
        }
        Ok(Some(Header { names: self.object.keys.names.clone(), line: self.line, raw: Vec::new() }))
    }

    fn has_next(&mut self) -> Result<bool> {
        self.find_record()
    }

    fn read(&mut self) -> Result<bool> {
        if !self.find_record()? {
            return Ok(false);
        }
        self.length = self.find_line_end()?;
        self.pass(self.length);
        let raw = &self.buffer[self.start - self.length..self.start];
        let is_blank = raw.trim_ascii().is_empty();
        self.defect = None;
        if is_blank {
            self.object.clear();
        } else {
            self.defect = self.object.parse(raw.trim_ascii_end()).err();
        }
        if self.defect.is_some() {
            self.object.spans.clear();
        }
        self.is_blank = is_blank;
        Ok(true)
    }

    fn record(&self) -> Record<'_> {
        let line = self.line - 1;
        Record {
            text: &self.object.text,
            raw: &self.buffer[self.start - self.length..self.start],
            spans: &self.object.spans,
            strays: StrayFields::default(),
            positions: None,
            misfit: None,
            is_short: false,
            is_blank: self.is_blank,
            dialect: &self.dialect,
            defect: self.defect.as_ref(),
            line,
            last_line: line,
            offset: self.offset - self.length as u64,
        }
    }

    fn set_layout(&mut self, _: Layout) {
        unreachable!("all files have the same keys, in the same order");
    }

    fn keep_json(&mut self, fields: &[usize]) {
        for field in fields {
            self.object.keeps_json[*field] = true;
        }
    }
}

#[cfg(test)]
mod tests;
