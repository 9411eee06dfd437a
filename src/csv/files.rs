//! Several files read as one: opened in turn, their fields in the order of the first header.

use std::collections::HashSet;
use std::io::{Cursor, Read};

use encoding_rs::{Encoding, UTF_8};
use serde::Serialize;

use crate::csv::decompress::ByteSource;
use crate::csv::dialect::Dialect;
use crate::csv::input::Inputs;
use crate::csv::layout::{Layout, Relation};
use crate::csv::limits::DEFAULT_MAX_RECORD_BYTES;
use crate::csv::ndjson::{JsonRecords, Keys};
use crate::csv::reader::{Header, RecordReader};
use crate::csv::record::Record;
use crate::csv::records::Records;
use crate::csv::sniff::{Detect, HeaderVerdict, SAMPLE_BYTES, Sniffed, sniff};
use crate::error::Location;
use crate::escape::escape;
use crate::{Error, Result};

/// The format of files.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Syntax {
    /// That of the extension of the first file's name, or else that of its first character.
    #[default]
    Auto,
    /// CSV.
    Csv,
    /// JSON objects, one on each line.
    Ndjson,
}

/// How to read the input files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFormat {
    /// Their format.
    pub syntax: Syntax,
    /// Of NDJSON, the keys to read, which are the fields of its records; empty for those of the first lines.
    pub keys: Vec<String>,
    /// Of NDJSON, whether to ignore other keys; otherwise a line that has one is refused.
    pub ignore_other_keys: bool,
    /// The dialect of the files.
    pub dialect: Dialect,
    /// The properties of the dialect to detect from the beginning of the first file that is not empty, instead of taking
    /// them from `dialect`.
    pub detect: Detect,
    /// Refuse longer records, in bytes.
    pub max_record_bytes: usize,
    /// Records of all files, from the first, to pass over.
    pub skip_rows: u64,
    /// Records to read at most, after those passed over; `None` for all.
    pub limit: Option<u64>,
    /// Take the fields that a short record lacks at its end for NULL.
    pub pad: bool,
    /// Read the names of all headers first. A column that a file does not have is then NULL in the rows of that file.
    pub union_by_name: bool,
}

impl Default for InputFormat {
    fn default() -> Self {
        InputFormat {
            syntax: Syntax::Auto,
            keys: Vec::new(),
            ignore_other_keys: false,
            dialect: Dialect::default(),
            detect: Detect::NONE,
            max_record_bytes: DEFAULT_MAX_RECORD_BYTES,
            skip_rows: 0,
            limit: None,
            pad: false,
            union_by_name: false,
        }
    }
}

impl InputFormat {
    /// Read the records of `source`, which errors call `name`.
    pub(crate) fn reader(&self, source: ByteSource, name: &str) -> Box<dyn RecordReader> {
        let (max, InputFormat { keys, ignore_other_keys, .. }) = (self.max_record_bytes, self);
        match self.syntax {
            Syntax::Auto | Syntax::Csv => Box::new(Records::new(source, name, self.dialect.clone(), max)),
            Syntax::Ndjson => {
                let keys = Keys { names: keys.clone(), collects: false, ignores_others: *ignore_other_keys };
                Box::new(JsonRecords::new(source, name, keys, max))
            }
        }
    }

    /// Find out the format of `source`, the beginning of the file `name`, and return the source from its beginning.
    fn detect_syntax(&mut self, mut source: ByteSource, name: &str) -> Result<ByteSource> {
        if self.syntax == Syntax::Auto {
            self.syntax = if let Some(syntax) = syntax_of_name(name) {
                syntax
            } else {
                let (is_object, whole) = begins_with_brace(source, name)?;
                source = whole;
                if is_object { Syntax::Ndjson } else { Syntax::Csv }
            };
        }
        if self.syntax == Syntax::Ndjson {
            self.detect = Detect::NONE;
            // Every record names its fields.
            self.dialect = Dialect { header: true, encoding: UTF_8, ..self.dialect.clone() };
            if self.keys.is_empty() {
                let (sample, whole) = peek(source, SAMPLE_BYTES, name)?;
                source = whole;
                // What is wrong is found when it is read, unless no key is found: nothing would be read then.
                self.keys = collect_keys(&sample[..], name, self.max_record_bytes).0;
                if self.keys.is_empty() {
                    check_first_object(&sample, name, self.max_record_bytes)?;
                }
            }
        }
        Ok(source)
    }
}

/// Whether the first character of `source`, the file `name`, is a brace, and the source from its beginning. No more is read
/// than that takes: the next bytes of a pipe may be long in coming.
fn begins_with_brace(mut source: ByteSource, name: &str) -> Result<(bool, ByteSource)> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    const MOST_BLANKS: usize = 1024;
    let mut head = Vec::new();
    let first = loop {
        let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&head).trim_ascii_start();
        let is_mark = head.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(&head);
        if !is_mark && (!text.is_empty() || head.len() > MOST_BLANKS) {
            break text.first().copied();
        }
        let read = source.by_ref().take(1).read_to_end(&mut head);
        if read.map_err(|error| Error::input(format!("failed to read {name}: {error}")))? == 0 {
            break None;
        }
    };
    Ok((first == Some(b'{'), Box::new(Cursor::new(head).chain(source))))
}

/// The first `count` bytes of `source`, the file `name`, and the source from its beginning.
fn peek(mut source: ByteSource, count: usize, name: &str) -> Result<(Vec<u8>, ByteSource)> {
    let mut head = Vec::new();
    let read = source.by_ref().take(count as u64).read_to_end(&mut head);
    read.map_err(|error| Error::input(format!("failed to read {name}: {error}")))?;
    let whole = Box::new(Cursor::new(head.clone()).chain(source));
    Ok((head, whole))
}

/// The format that the extension of the file name `name` stands for, before that of a compression; `None` if it stands
/// for none.
fn syntax_of_name(name: &str) -> Option<Syntax> {
    let (stem, extension) = name.rsplit_once('.')?;
    match extension.to_ascii_lowercase().as_str() {
        "gz" | "zst" | "bz2" | "xz" => syntax_of_name(stem),
        "csv" | "tsv" | "tab" | "psv" => Some(Syntax::Csv),
        "ndjson" | "jsonl" | "json" => Some(Syntax::Ndjson),
        _ => None,
    }
}

/// The keys of all objects of `source`, in the order in which they first occur, and the error that ends them.
fn collect_keys(source: impl Read + Send, name: &str, max_record_bytes: usize) -> (Vec<String>, Result<()>) {
    let keys = Keys { collects: true, ..Keys::default() };
    let mut records = JsonRecords::new(source, name, keys, max_record_bytes);
    let ended = loop {
        match records.next_named() {
            Ok(Some(_)) => {}
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    (records.keys().to_vec(), ended)
}

/// Check that the first line of `sample`, in which no key was found, is not there.
fn check_first_object(sample: &[u8], name: &str, max_record_bytes: usize) -> Result<()> {
    let keys = Keys { collects: true, ..Keys::default() };
    let mut records = JsonRecords::new(sample, name, keys, max_record_bytes);
    let Some((record, _)) = records.next_named()? else { return Ok(()) };
    let line = record.line;
    let (message, help) = match record.defect() {
        Some(defect) => (defect.message.as_str(), defect.help),
        None => ("the object has no keys", "there has to be a key for each column"),
    };
    Err(Error::input(format!("{name}, line {line}: {message}"))
        .with_help(help)
        .at(Location::on_line(name, line)))
}

/// Reads the records of all files, one file after another.
pub struct Files {
    inputs: Inputs,
    format: InputFormat,
    /// The index of the input being read.
    current: usize,
    records: Box<dyn RecordReader>,
    /// The first header, or the union of all, and the name of the file it comes from.
    header: Option<(Header, String)>,
    sniffed: Option<Sniffed>,
    /// The first file, before it is decided whether its first record is a header.
    undecided: Option<ByteSource>,
    /// Fields of which the JSON text is wanted.
    json_fields: Vec<usize>,
    /// Records still to be passed over.
    to_skip: u64,
    /// Records that may still be returned.
    remaining: u64,
}

impl Files {
    /// Open the first of `inputs` and read its header. Empty files before the first header are skipped.
    ///
    /// If it is to be detected whether there is a header, [`Files::settle_header`] has to follow.
    ///
    /// # Errors
    /// When `inputs` is empty, when the dialect cannot be detected or contradicts the rest, and as [`Files::next_named`].
    pub fn open(inputs: Inputs, mut format: InputFormat) -> Result<Self> {
        if inputs.iter().len() == 0 {
            return Err(Error::usage("no input file given").with_help("name a file, or - for standard input"));
        }
        let (mut current, source) = (0, inputs.open(0)?);
        let mut source = format.detect_syntax(source, &inputs.name(0))?;
        let mut sniffed = None;
        if format.detect.is_any() {
            let sample;
            (current, sample, source) = first_sample(&inputs, source)?;
            let name = inputs.name(current);
            let name = escape(&name);
            let found = sniff(&name, &sample, &format.dialect, format.detect)?;
            format.dialect = found.dialect.clone();
            format.detect = Detect { header: format.detect.header, ..Detect::NONE };
            format.dialect.check()?;
            sniffed = Some(found);
            source = Box::new(Cursor::new(sample).chain(source));
        }
        let mut undecided = None;
        if format.detect.header {
            undecided = Some(std::mem::replace(&mut source, Box::new(std::io::empty())));
        }
        let records = records(source, &inputs, current, &format);
        let (to_skip, remaining) = (format.skip_rows, format.limit.unwrap_or(u64::MAX));
        let (header, json_fields) = (None, Vec::new());
        let mut files = Files {
            inputs,
            format,
            current,
            records,
            header,
            sniffed,
            undecided,
            json_fields,
            to_skip,
            remaining,
        };
        if files.undecided.is_none() {
            files.read_first_header()?;
        }
        Ok(files)
    }

    /// Decide whether the first record is a header, if that is to be detected: by `names`, those that a header may have, and
    /// by the records. Return what decided it, unless it was decided before.
    ///
    /// # Errors
    /// When nothing decides it, and as [`Files::open`].
    pub fn settle_header(&mut self, names: &[&str]) -> Result<Option<&'static str>> {
        let Some(source) = self.undecided.take() else { return Ok(None) };
        let sniffed = self.sniffed.as_mut().expect("a header is undecided only after sniffing");
        let reason = sniffed.decide_header(&escape(&self.inputs.name(self.current)), names)?;
        self.format.dialect.header = sniffed.dialect.header;
        self.format.detect.header = false;
        self.records = records(source, &self.inputs, self.current, &self.format);
        self.read_first_header()?;
        Ok(Some(reason))
    }

    /// The same files, with every key in any of them as a field, if they are NDJSON of which no keys are named, and can be
    /// read again.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn with_all_keys(self) -> Result<Self> {
        if self.format.syntax != Syntax::Ndjson || !self.inputs.can_be_read_again() {
            return Ok(self);
        }
        let inputs = self.inputs.reopened();
        let mut keys = self.format.keys.clone();
        for index in 0..inputs.iter().len() {
            let (more, ended) =
                collect_keys(inputs.open(index)?, &inputs.name(index), self.format.max_record_bytes);
            ended?;
            keys.extend(more);
        }
        let mut seen = HashSet::with_capacity(keys.len());
        keys.retain(|key| seen.insert(key.clone()));
        if keys == self.format.keys {
            return Ok(self);
        }
        Files::open(inputs.reopened(), InputFormat { keys, ..self.format })
    }

    /// Why the first record of the first file seems to be none of names although it is read as a header; `None` if it
    /// does not, or the file is not read as CSV with a header or cannot be read again.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn doubt_of_header(&self) -> Result<Option<&'static str>> {
        const DOUBT_BYTES: u64 = 64 * 1024;
        let InputFormat { dialect, syntax, detect, .. } = &self.format;
        let is_taken = *syntax == Syntax::Csv && dialect.header && !detect.header && self.sniffed.is_none();
        if !is_taken || self.inputs.iter().len() == 0 || !self.inputs.can_be_read_again() {
            return Ok(None);
        }
        let (inputs, name, mut sample) = (self.inputs.reopened(), self.inputs.name(0), Vec::new());
        let read = inputs.open(0)?.take(DOUBT_BYTES).read_to_end(&mut sample);
        read.map_err(|error| Error::input(format!("failed to read {name}: {error}")))?;
        // What is cut off would be a short record.
        if sample.len() as u64 == DOUBT_BYTES
            && let Some(end) = sample.iter().rposition(|byte| *byte == b'\n')
        {
            sample.truncate(end + 1);
        }
        let detect = Detect { header: true, ..Detect::NONE };
        let sniffed = sniff(&name, &sample, dialect, detect).ok();
        Ok(sniffed.filter(|sniffed| sniffed.header == HeaderVerdict::No).map(|sniffed| sniffed.header_reason))
    }

    /// The header; `None` when the dialect has none or all files opened so far are empty.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref().map(|(header, _)| header)
    }

    /// Whether a header is expected but no file has one, which means that all files are empty.
    pub fn is_empty(&self) -> bool {
        self.format.dialect.header && self.header.is_none()
    }

    /// The dialect detected in the first file; `None` if nothing was to be detected.
    pub fn sniffed(&self) -> Option<&Sniffed> {
        self.sniffed.as_ref()
    }

    /// The inputs.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The format in effect, including a detected dialect.
    pub fn format(&self) -> &InputFormat {
        &self.format
    }

    /// The format of one record of the file being read, by itself: with no lines before it, and of any length.
    pub(crate) fn record_format(&self) -> InputFormat {
        let dialect = Dialect { encoding: self.encoding(), skip_lines: 0, ..self.format.dialect.clone() };
        InputFormat { dialect, max_record_bytes: usize::MAX, ..self.format.clone() }
    }

    /// The name of the file being read, for messages.
    pub fn name(&self) -> &str {
        self.records.name()
    }

    /// The encoding of the file being read. A byte order mark may determine it.
    pub fn encoding(&self) -> &'static Encoding {
        self.records.encoding()
    }

    /// The index of the input being read, from 0.
    pub fn current(&self) -> usize {
        self.current
    }

    /// Whether the file being read has its fields in another order than the records that are returned.
    pub(crate) fn is_reordered(&self) -> bool {
        self.records.is_reordered()
    }

    /// Whether any file has another record to return. Opens the next file where one ends, and passes over the records
    /// that are to be skipped.
    ///
    /// # Errors
    /// As [`Files::next_named`].
    #[inline]
    pub fn has_next(&mut self) -> Result<bool> {
        while !self.has_next_in_file()? {
            if self.remaining == 0 || !self.open_next_file()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the file being read has another record to return. Passes over the records that are to be skipped.
    ///
    /// # Errors
    /// As [`Records::next`], and when a file that has ended was changed while it was read.
    #[inline]
    pub fn has_next_in_file(&mut self) -> Result<bool> {
        while self.remaining > 0 {
            if !self.records.has_next()? {
                self.inputs.check_unchanged(self.current)?;
                return Ok(false);
            }
            if self.to_skip == 0 {
                return Ok(true);
            }
            self.records.next_named()?;
            self.to_skip -= 1;
            self.inputs.pass_over();
        }
        Ok(false)
    }

    /// The next record of any file, and the name of that file; `None` after the last record of the last file. The fields
    /// are in the order of [`Files::header`].
    ///
    /// # Errors
    /// As [`Records::next`], when a file cannot be opened, and when its header has other names than the first.
    #[inline]
    pub fn next_named(&mut self) -> Result<Option<(Record<'_>, &str)>> {
        if !self.has_next()? {
            return Ok(None);
        }
        self.remaining -= 1;
        self.records.next_named()
    }

    /// The next record of the file being read, of which [`Files::has_next`] knows that it may be returned; `None` at its
    /// end, and at the limit.
    ///
    /// # Errors
    /// As [`Records::next`].
    #[inline]
    pub fn next_in_file(&mut self) -> Result<Option<Record<'_>>> {
        if self.remaining == 0 {
            return Ok(None);
        }
        let next = self.records.next_named()?;
        self.remaining -= u64::from(next.is_some());
        Ok(next.map(|(record, _)| record))
    }

    /// Return the JSON text of the values of `fields` from now on, where the format is JSON.
    pub(crate) fn keep_json(&mut self, fields: &[usize]) {
        fields.clone_into(&mut self.json_fields);
        self.records.keep_json(fields);
    }

    /// Skip the rest of this file and open the next one; `false` when this is the last.
    ///
    /// # Errors
    /// When it cannot be opened, and when its header has other names than the first.
    pub fn open_next_file(&mut self) -> Result<bool> {
        let next = self.current + 1;
        if next == self.inputs.iter().len() {
            return Ok(false);
        }
        self.records = records(self.inputs.open(next)?, &self.inputs, next, &self.format);
        self.records.keep_json(&self.json_fields);
        self.current = next;
        self.read_header()?;
        Ok(true)
    }

    fn read_first_header(&mut self) -> Result<()> {
        if self.format.union_by_name && self.inputs.iter().len() > 1 {
            self.header = union_of_headers(&self.inputs, &self.format)?;
        }
        self.read_header()?;
        while self.header.is_none() && self.format.dialect.header && self.open_next_file()? {}
        Ok(())
    }

    /// Read the header of the file being read, and compare it with the first one.
    fn read_header(&mut self) -> Result<()> {
        if !self.format.dialect.header {
            return Ok(());
        }
        let Some(header) = self.records.header()? else { return Ok(()) };
        let InputFormat { union_by_name, pad, .. } = self.format;
        let Some((first, first_file)) = &self.header else {
            self.header = Some((header, self.records.name().to_owned()));
            return Ok(());
        };
        match Layout::compare(&first.names, &header.names, union_by_name, pad) {
            Relation::Same => Ok(()),
            Relation::Reordered(layout) => {
                self.records.set_layout(layout);
                Ok(())
            }
            Relation::Different => Err(Error::input(format!(
                "{}, line {}: the header is {}, but that of {first_file} is {}",
                self.records.name(),
                header.line,
                header.names.join(","),
                first.names.join(",")
            ))
            .with_help(
                "files loaded together must have the same columns, in any order; --union-by-name also loads those that \
                 only some of the files have",
            )
            .at(Location::on_line(self.records.name(), header.line))),
        }
    }
}

/// The beginning of the first of `inputs` that is not empty, if any: its index, the sample, and what follows that. `source`
/// is the first input.
fn first_sample(inputs: &Inputs, mut source: ByteSource) -> Result<(usize, Vec<u8>, ByteSource)> {
    let mut current = 0;
    loop {
        let mut sample = Vec::new();
        let read = source.by_ref().take(SAMPLE_BYTES as u64).read_to_end(&mut sample);
        read.map_err(|error| Error::input(format!("failed to read {}: {error}", inputs.name(current))))?;
        if !sample.is_empty() || current + 1 == inputs.iter().len() {
            return Ok((current, sample, source));
        }
        current += 1;
        source = inputs.open(current)?;
    }
}

/// The names in the headers of all `inputs`, each once and in the order in which they appear, and the first file that has
/// a header.
///
/// # Errors
/// When an input cannot be read twice, and as [`Records::header`].
fn union_of_headers(inputs: &Inputs, format: &InputFormat) -> Result<Option<(Header, String)>> {
    if !inputs.can_be_read_again() {
        return Err(Error::usage(
            "--union-by-name reads all headers first, which is not possible for a pipe",
        )
        .with_help("save it to a file first"));
    }
    // What is read here must not be counted as read.
    let inputs = inputs.reopened();
    let mut union: Option<(Header, String)> = None;
    for index in 0..inputs.iter().len() {
        let mut records = records(inputs.open(index)?, &inputs, index, format);
        let Some(header) = records.header()? else { continue };
        let Some((all, _)) = &mut union else {
            union = Some((header, records.name().to_owned()));
            continue;
        };
        for name in header.names {
            if !all.names.iter().any(|known| known.trim().eq_ignore_ascii_case(name.trim())) {
                all.names.push(name);
            }
        }
    }
    Ok(union)
}

fn records(source: ByteSource, inputs: &Inputs, index: usize, format: &InputFormat) -> Box<dyn RecordReader> {
    format.reader(source, &escape(&inputs.name(index)))
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files")
            .field("inputs", &self.inputs)
            .field("format", &self.format)
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_that_of_the_name_or_of_the_first_character() {
        for (name, text, expected) in [
            ("a.csv", "{", Syntax::Csv),
            ("a.b/c.tsv.gz", "{", Syntax::Csv),
            ("A.JSONL.zst", "", Syntax::Ndjson),
            ("standard input", "\u{feff} {\"a\":1}", Syntax::Ndjson),
            ("standard input", "a,b", Syntax::Csv),
            ("x.csv.1", "", Syntax::Csv),
        ] {
            let mut format = InputFormat::default();
            let mut source = format.detect_syntax(Box::new(text.as_bytes()), name).unwrap();
            let mut whole = String::new();
            source.read_to_string(&mut whole).unwrap();
            assert_eq!((format.syntax, whole.as_str()), (expected, text), "{name}");
        }
    }
}
