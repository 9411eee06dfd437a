//! The format of files: how it is found out, and the reader of each.

use std::io::Read;

use encoding_rs::{Encoding, UTF_8};
use serde::{Deserialize, Serialize};

use crate::csv::decompress::ByteSource;
use crate::csv::dialect::{BlankLines, Dialect, StrayQuotes};
use crate::csv::layout::Layout;
use crate::csv::limits::{DEFAULT_MAX_RECORD_BYTES, UTF_8_MARK};
use crate::csv::names::NameStyle;
use crate::csv::ndjson::{JsonRecords, Keys};
use crate::csv::reader::{Header, RecordReader};
use crate::csv::record::Record;
use crate::csv::records::Records;
use crate::csv::replay::Replay;
use crate::csv::sniff::{Detect, SAMPLE_BYTES};
use crate::error::Location;
use crate::{Error, Result};

/// The format of files.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
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
    /// Whether the delimiter was detected in a sample.
    pub is_detected: bool,
    /// Refuse a record that takes several lines and has stray quotes. It is set where the quote was detected in a sample
    /// without any: such a quote most likely belongs to a value, and hides the rows up to the next one.
    pub guards_quotes: bool,
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
    /// Names in headers that are the same in this style name the same column.
    pub names: NameStyle,
}

impl Default for InputFormat {
    fn default() -> Self {
        InputFormat {
            syntax: Syntax::Auto,
            keys: Vec::new(),
            ignore_other_keys: false,
            dialect: Dialect::default(),
            detect: Detect::NONE,
            is_detected: false,
            guards_quotes: false,
            max_record_bytes: DEFAULT_MAX_RECORD_BYTES,
            skip_rows: 0,
            limit: None,
            pad: false,
            union_by_name: false,
            names: NameStyle::default(),
        }
    }
}

impl InputFormat {
    /// Read the records of `source`, which errors call `name`.
    pub(crate) fn reader(&self, source: ByteSource, name: &str) -> FormatReader {
        let (max, InputFormat { keys, ignore_other_keys, .. }) = (self.max_record_bytes, self);
        match self.syntax {
            Syntax::Auto | Syntax::Csv => {
                let records = Records::new(source, name, self.dialect.clone(), max);
                FormatReader::Csv(Box::new(records.guarding_quotes(self.guards_quotes)))
            }
            Syntax::Ndjson => {
                let keys = Keys { names: keys.clone(), collects: false, ignores_others: *ignore_other_keys };
                FormatReader::Ndjson(Box::new(JsonRecords::new(source, name, keys, &self.dialect, max)))
            }
        }
    }

    /// Whether files can be cut into pieces of whole records by their quotes and line feeds alone: each line feed outside
    /// quotes ends a record.
    pub(crate) fn can_be_cut(&self) -> bool {
        let Dialect { quote, escape, stray_quotes, comment, skip_lines, blank_lines, encoding, .. } =
            &self.dialect;
        self.syntax == Syntax::Csv
            && quote.is_none_or(|quote| quote == *escape)
            && *stray_quotes == StrayQuotes::Postgres
            && comment.is_none()
            && *skip_lines == 0
            && *blank_lines != Some(BlankLines::Skip)
            && *encoding == UTF_8
            && self.skip_rows == 0
            && self.limit.is_none()
    }

    /// Whether files of which the first has this `name` are NDJSON, as far as that tells.
    pub(crate) fn is_ndjson_by_name(&self, name: &str) -> bool {
        match self.syntax {
            Syntax::Auto => syntax_of_name(name) == Some(Syntax::Ndjson),
            syntax => syntax == Syntax::Ndjson,
        }
    }

    /// Find out the format of `source`, the beginning of the file `name`, and return the source from its beginning.
    pub(super) fn detect_syntax(&mut self, mut source: ByteSource, name: &str) -> Result<ByteSource> {
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
                self.keys = collect_keys(&sample[..], name, self).0;
                if self.keys.is_empty() {
                    check_first_object(&sample, name, self)?;
                }
            }
        }
        Ok(source)
    }
}

/// The reader of a file in either format. Not `dyn RecordReader`, so that reading a record can be inlined.
pub(crate) enum FormatReader {
    Csv(Box<Records<ByteSource>>),
    Ndjson(Box<JsonRecords<ByteSource>>),
}

impl FormatReader {
    /// The reader as what all formats have in common.
    fn any(&mut self) -> &mut dyn RecordReader {
        match self {
            FormatReader::Csv(records) => &mut **records,
            FormatReader::Ndjson(records) => &mut **records,
        }
    }
}

impl RecordReader for FormatReader {
    fn name(&self) -> &str {
        match self {
            FormatReader::Csv(records) => records.name(),
            FormatReader::Ndjson(records) => records.name(),
        }
    }

    fn encoding(&self) -> &'static Encoding {
        match self {
            FormatReader::Csv(records) => records.encoding(),
            FormatReader::Ndjson(records) => records.encoding(),
        }
    }

    fn header(&mut self) -> Result<Option<Header>> {
        self.any().header()
    }

    #[inline]
    fn has_next(&mut self) -> Result<bool> {
        match self {
            FormatReader::Csv(records) => records.has_next(),
            FormatReader::Ndjson(records) => records.has_next(),
        }
    }

    #[inline]
    fn read(&mut self) -> Result<bool> {
        match self {
            FormatReader::Csv(records) => records.read(),
            FormatReader::Ndjson(records) => records.read(),
        }
    }

    #[expect(clippy::inline_always, reason = "each call that is left copies the record")]
    #[inline(always)]
    fn record(&self) -> Record<'_> {
        match self {
            FormatReader::Csv(records) => records.record(),
            FormatReader::Ndjson(records) => records.record(),
        }
    }

    fn set_layout(&mut self, layout: Layout) {
        self.any().set_layout(layout);
    }

    fn keep_json(&mut self, fields: &[usize]) {
        self.any().keep_json(fields);
    }
}

/// Whether the first character of `source`, the file `name`, is a brace, and the source from its beginning. No more is read
/// than that takes: the next bytes of a pipe may be long in coming.
fn begins_with_brace(mut source: ByteSource, name: &str) -> Result<(bool, ByteSource)> {
    const MOST_BLANKS: usize = 1024;
    let mut head = Vec::new();
    let first = loop {
        let text = head.strip_prefix(UTF_8_MARK).unwrap_or(&head).trim_ascii_start();
        let is_mark = head.len() < UTF_8_MARK.len() && UTF_8_MARK.starts_with(&head);
        if !is_mark && (!text.is_empty() || head.len() > MOST_BLANKS) {
            break text.first().copied();
        }
        let read = source.by_ref().take(1).read_to_end(&mut head);
        if read.map_err(|error| Error::input(format!("failed to read {name}: {error}")))? == 0 {
            break None;
        }
    };
    Ok((first == Some(b'{'), Box::new(Replay::new(head, source))))
}

/// The first `count` bytes of `source`, the file `name`, and the source from its beginning.
pub(super) fn peek(mut source: ByteSource, count: usize, name: &str) -> Result<(Vec<u8>, ByteSource)> {
    let mut head = Vec::new();
    let read = source.by_ref().take(count as u64).read_to_end(&mut head);
    read.map_err(|error| Error::input(format!("failed to read {name}: {error}")))?;
    let whole = Box::new(Replay::new(head.clone(), source));
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
pub(super) fn collect_keys(
    source: impl Read + Send,
    name: &str,
    format: &InputFormat,
) -> (Vec<String>, Result<()>) {
    let mut records = collecting(source, name, format);
    let ended = loop {
        match records.next_named() {
            Ok(Some(_)) => {}
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    (records.keys().to_vec(), ended)
}

/// A reader that collects the keys of `source`.
fn collecting<R: Read + Send>(source: R, name: &str, format: &InputFormat) -> JsonRecords<R> {
    let keys = Keys { collects: true, ..Keys::default() };
    // Of what is no record, nothing is to be learnt.
    let dialect = Dialect { blank_lines: None, ..format.dialect.clone() };
    JsonRecords::new(source, name, keys, &dialect, format.max_record_bytes)
}

/// Check that the first line of `sample`, in which no key was found, is not there.
fn check_first_object(sample: &[u8], name: &str, format: &InputFormat) -> Result<()> {
    let mut records = collecting(sample, name, format);
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
